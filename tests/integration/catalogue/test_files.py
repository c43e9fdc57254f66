"""Saved files and folders, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from saveany.catalogue import FileFilter, FileKind, FileOrder, Folder, HistoryFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.inventory import FoundCopy
from saveany.catalogue.tables import folders
from saveany.errors import InvalidInput, NotFound, WrongState
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.integration.store.test_lifecycle import accept, claim

MEDIA = {
    "chat": -1001,
    "chat_username": "films",
    "message": 7,
    "document": 2**62,
    "mime": "video/mp4",
    "dc": 4,
}


async def save(store: Store, *paths: str, user: int = 1, size: int = 1, **fields: Any) -> str:
    """A task that has saved these files; returns its id."""
    await accept(store, user_id=user)
    claimed = await claim(store)
    items = [
        Item(index=n, name=path.rpartition("/")[2], path=path, final=path, size=size + n)
        for n, path in enumerate(paths)
    ]
    await claimed.plan("title", items, Progress(), [])
    done = [replace(each, status=ItemStatus.COMPLETED, **fields) for each in items]
    await claimed.finish(Status.COMPLETED, items=done)
    return claimed.task.id


async def names(catalogue: Catalogue, limit: int = 100, **filters: Any) -> list[str]:
    """The names of the files of all pages."""
    found: list[SavedFile] = []
    cursor = ""
    while True:
        page = await catalogue.files.page(FileFilter(**filters), limit, cursor)
        assert len(page.files) <= limit
        found += page.files
        cursor = page.cursor
        if not cursor:
            return [file.name for file in found]


async def test_a_file_has_what_is_known_of_it(store: Store, any_catalogue: Catalogue) -> None:
    task_id = await save(
        store,
        "films/2024/a.mkv",
        user=7,
        sha256="ab" * 32,
        text="A caption",
        source=MEDIA,
        url="https://t.me/c/1/2",
    )
    (file,) = (await any_catalogue.files.page(FileFilter())).files
    assert file == await any_catalogue.files.get(file.id)
    assert (file.user_id, file.name, file.caption, file.size) == (7, "a.mkv", "A caption", 1)
    assert (file.storage, file.path, file.sha256) == ("local1", "films/2024/a.mkv", "ab" * 32)
    assert (file.mime, file.kind, file.page) == ("video/mp4", "video", "https://t.me/c/1/2")
    assert (file.chat, file.message, file.document, file.dc) == (-1001, 7, 2**62, 4)
    assert (file.task_id, file.item, file.downloads) == (task_id, 0, 0)
    assert (await any_catalogue.folders.paths([file.folder_id])) == {file.folder_id: "/films/2024"}


@pytest.mark.parametrize("file_id", ["nothing", "", "\x00", "é", "a'b"])
async def test_an_unknown_file_is_none(any_catalogue: Catalogue, file_id: str) -> None:
    assert await any_catalogue.files.get(file_id) is None


async def test_filters_select_files(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "films/one.mkv", "films/two.mp3", user=1)
    await save(store, "three.jpg", user=2, storage="nas", text="on the 海边")
    await save(store, "four.txt", "five.bin", user=2)
    (films,) = (await any_catalogue.folders.children(0, None)).folders
    assert sorted(await names(any_catalogue, user_id=1)) == ["one.mkv", "two.mp3"]
    assert sorted(await names(any_catalogue, folder_id=films.id)) == ["one.mkv", "two.mp3"]
    assert sorted(await names(any_catalogue, folder_id=0)) == ["five.bin", "four.txt", "three.jpg"]
    assert await names(any_catalogue, storage="nas") == ["three.jpg"]
    kinds = [await names(any_catalogue, kind=kind) for kind in FileKind]
    assert kinds == [["one.mkv"], ["two.mp3"], ["three.jpg"], ["four.txt"], ["five.bin"]]
    assert await names(any_catalogue, q="海边") == ["three.jpg"]
    assert await names(any_catalogue, q="ONE") == ["one.mkv"]
    assert await names(any_catalogue, q="one", user_id=2) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_pages_contain_each_file_once_in_every_order(
    store: Store, any_catalogue: Catalogue, limit: int
) -> None:
    await save(store, *(f"b{n}.bin" for n in range(4)), size=10)
    await save(store, *(f"a{n}.bin" for n in range(4)), size=11)
    by_name = [f"{letter}{n}.bin" for letter in "ab" for n in range(4)]
    assert await names(any_catalogue, limit, order=FileOrder.NAME) == by_name
    assert await names(any_catalogue, limit, order=FileOrder.NAME_DESCENDING) == by_name[::-1]
    sizes = {name: int(name[1]) + (11 if name[0] == "a" else 10) for name in by_name}
    for order, sign in ((FileOrder.SMALLEST, 1), (FileOrder.LARGEST, -1)):
        found = await names(any_catalogue, limit, order=order)
        assert sorted(found) == sorted(by_name)
        assert [sign * sizes[name] for name in found] == sorted(sign * sizes[name] for name in found)
    newest = await names(any_catalogue, limit)
    assert {name[0] for name in newest[:4]} == {"a"}
    assert newest == (await names(any_catalogue, limit, order=FileOrder.OLDEST))[::-1]


@pytest.mark.parametrize(
    "cursor", ["x", "=", "WzEsImEiXQ\n", "WyJhIiwiYSJd", "WzEsIi0iXQ", "W10", "e30", "é"]
)
async def test_an_invalid_cursor_is_refused(any_catalogue: Catalogue, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await any_catalogue.files.page(FileFilter(), 5, cursor)


async def test_each_user_has_own_folders(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "films/a/x.bin", "films/b/y.bin", "music/z.bin", user=1)
    await save(store, "films/a/x.bin", user=2)
    await any_catalogue.recorder.catch_up()
    top = (await any_catalogue.folders.children(0, None)).folders
    assert [(each.name, each.user_id) for each in top] == [("films", 1), ("films", 2), ("music", 1)]
    below = (await any_catalogue.folders.children(top[0].id, 1)).folders
    assert [each.name for each in below] == ["a", "b"]
    assert await any_catalogue.folders.get(below[0].id) == below[0]
    assert await any_catalogue.folders.get(0) is None


async def test_a_file_in_a_private_chat_is_in_no_folder_of_the_user_id(
    store: Store, any_catalogue: Catalogue
) -> None:
    await save(store, "123/films/a.bin", storage="talks")
    (file,) = (await any_catalogue.files.page(FileFilter())).files
    assert await any_catalogue.folders.paths([file.folder_id]) == {file.folder_id: "/films"}


async def test_files_are_summed(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "a.mkv", "b.mkv", size=10, user=1)
    await save(store, "c.mp3", size=5, user=2, storage="nas")
    found = await any_catalogue.files.stats(None)
    assert {name: (each.files, each.bytes) for name, each in found["type"].items()} == {
        "video": (2, 21),
        "audio": (1, 5),
    }
    assert found["storage"].keys() == {"local1", "nas"}
    assert found["user"].keys() == {"1", "2"}
    (day,) = found["day"].values()
    assert (day.files, day.bytes) == (3, 26)
    assert (await any_catalogue.files.stats(2))["type"].keys() == {"audio"}


async def test_files_stay_when_their_task_is_forgotten(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "a.mkv")
    assert await any_catalogue.history.clear() == 1
    assert await names(any_catalogue) == ["a.mkv"]


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
async def test_text_that_no_database_stores_is_found_nowhere(any_catalogue: Catalogue, text: str) -> None:
    """PostgreSQL refuses such text, also in a question."""
    assert await any_catalogue.files.get(text) is None
    assert await any_catalogue.files.of_task(text, 0, 10) == []
    assert (await any_catalogue.files.page(FileFilter(storage=text))).files == []
    assert (await any_catalogue.history.page(HistoryFilter(storage=text, type=text))).tasks == []
    assert await any_catalogue.trash.get(text) is None
    assert await any_catalogue.keys.get(text) is None
    assert await any_catalogue.links.file_of(text) is None
    assert await any_catalogue.links.file_in(1, text) is None
    assert await any_catalogue.links.count_download(text) is False
    with pytest.raises(NotFound):
        await any_catalogue.trash.put(text, now=True)


async def test_a_folder_may_have_more_folders_than_a_statement_may_list(any_catalogue: Catalogue) -> None:
    """A scan of a storage adds as many as there are."""
    top = await any_catalogue.folders.make(1, 0, "top")
    below = [{"user_id": 1, "parent_id": top.id, "name": str(n)} for n in range(33_000)]
    async with any_catalogue._database.write() as connection:
        await connection.execute(insert(folders), below)
    await any_catalogue.inventory.add("local1", [FoundCopy("top/7/a.txt", 1, 1)], 1)
    found = await any_catalogue.links.files_in(top.id)
    assert [path for path, _ in found.files] == ["7/a.txt"]
    page = await any_catalogue.folders.children(top.id, 1)
    assert (len(page.folders), bool(page.cursor)) == (50, True)
    inside = page.folders[0]
    with pytest.raises(WrongState):
        await any_catalogue.folders.change(top.id, parent_id=inside.id)
    await any_catalogue.folders.remove(top.id, with_files=True)
    assert (await any_catalogue.folders.children(0, None)).folders == []
    [deleted] = (await any_catalogue.trash.page()).files
    assert deleted.old_folder == "/top/7"


async def test_pages_of_folders_contain_each_of_them_once(any_catalogue: Catalogue) -> None:
    made = [await any_catalogue.folders.make(user, 0, name) for user in (1, 2) for name in ("b", "a", "c")]
    found: list[Folder] = []
    cursor, pages = "", 0
    while cursor or not pages:
        page = await any_catalogue.folders.children(0, None, 2, cursor)
        found, cursor, pages = [*found, *page.folders], page.cursor, pages + 1
    assert [folder.name for folder in found] == ["a", "a", "b", "b", "c", "c"]
    assert sorted(folder.id for folder in found) == sorted(folder.id for folder in made)
    assert pages == 3
    with pytest.raises(InvalidInput):
        await any_catalogue.folders.children(0, None, 2, "x")


async def test_a_folder_is_found_and_listed_by_names(store: Store, any_catalogue: Catalogue) -> None:
    """As the drive needs it."""
    await save(store, "films/2024/a.mkv", "films/2024/b.mkv", "films/c.mkv", user=7)
    await save(store, "films/2024/b.mkv", user=7)  # another file with this name
    await save(store, "films/2024/x.mkv", user=8)
    along = await any_catalogue.folders.along(7, ["films", "2024", "none", "2024"])
    assert [each.name for each in along] == ["films", "2024"]
    assert await any_catalogue.folders.along(9, ["films"]) == []
    assert await any_catalogue.folders.named(along[0].id, 7, ["2024", "c.mkv"]) == {"2024"}
    assert await any_catalogue.folders.named(along[0].id, 8, ["2024"]) == set()
    found, start = [], ("", "")
    while files := await any_catalogue.files.listed(7, along[1].id, start, 2):
        found += [file.name for file in files]
        start = files[-1].name, files[-1].id
    assert found == ["a.mkv", "b.mkv", "b.mkv"]
