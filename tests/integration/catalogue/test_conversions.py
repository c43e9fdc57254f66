"""Converted copies, and folders by id, as the recorder writes them, on both engines."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from sqlalchemy import select

from saveany.catalogue import SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.tables import files
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.integration.catalogue.test_files import names
from tests.integration.store.test_lifecycle import accept, claim


async def save(store: Store, to: str, size: int, **spec: Any) -> str:
    """A task that has saved this file; returns its id."""
    await accept(store, user_id=1, **spec)
    claimed = await claim(store, lanes=("tgfiles/local1", "convert/local1"))
    item = Item(index=0, name=to.rpartition("/")[2], path=to, final=to, size=size)
    await claimed.plan("title", [item], Progress(), [])
    done = replace(item, status=ItemStatus.COMPLETED, sha256=f"{size:064}")
    await claimed.finish(Status.COMPLETED, items=[done])
    return claimed.task.id


async def convert(store: Store, path: str, task_id: str) -> str:
    """A task that has made an MP4 of 99 bytes from the file of another task."""
    params = {"task": task_id, "item": 0}
    to = path.rpartition(".")[0] + ".mp4"
    return await save(store, to, 99, type="convert", links=(path,), params=params, path="films")


async def the_file(catalogue: Catalogue, task_id: str) -> SavedFile:
    [file] = await catalogue.files.of_task(task_id, 0, 10)
    return file


async def record_again(store: Store, *task_ids: str) -> None:
    for task_id in task_ids:
        await store.db.do("XADD", "sa:record", "*", "task", task_id, "items", "*")


async def test_a_file_gets_the_converted_copy_and_the_trash_the_old_one(
    store: Store, any_catalogue: Catalogue
) -> None:
    task_id = await save(store, "films/a.mkv", 7)
    before = await the_file(any_catalogue, task_id)
    converted = await convert(store, "films/a.mkv", task_id)
    for _ in range(2):
        file = await the_file(any_catalogue, task_id)
        assert (file.id, file.folder_id, file.added_at) == (before.id, before.folder_id, before.added_at)
        assert (file.name, file.path, file.size) == ("a.mp4", "films/a.mp4", 99)
        assert (file.mime, file.sha256) == ("video/mp4", f"{99:064}")
        [old] = (await any_catalogue.trash.page(1, 50, "")).files
        assert (old.name, old.path, old.size) == ("a.mkv", "films/a.mkv", 7)
        assert (old.mime, old.sha256) == (before.mime, before.sha256)
        assert await names(any_catalogue) == ["a.mp4"]
        await record_again(store, task_id, converted, task_id)


async def test_the_copy_of_a_file_that_is_gone_goes_to_the_trash(
    store: Store, any_catalogue: Catalogue
) -> None:
    task_id = await save(store, "films/a.mkv", 7)
    await any_catalogue.trash.put((await the_file(any_catalogue, task_id)).id, now=False)
    await convert(store, "films/a.mkv", task_id)
    assert await names(any_catalogue) == []
    trash = (await any_catalogue.trash.page(1, 50, "")).files
    assert {file.path for file in trash} == {"films/a.mkv", "films/a.mp4"}


async def test_a_copy_of_other_bytes_replaces_nothing(store: Store, any_catalogue: Catalogue) -> None:
    task_id = await save(store, "films/a.mkv", 7)
    await convert(store, "films/other.mkv", task_id)
    assert (await the_file(any_catalogue, task_id)).path == "films/a.mkv"
    assert await names(any_catalogue) == ["a.mkv"]


async def test_a_task_saves_in_a_folder_that_was_renamed_meanwhile(
    store: Store, any_catalogue: Catalogue
) -> None:
    folder = await any_catalogue.folders.make(1, 0, "before")
    await accept(store, user_id=1, folder_id=folder.id, path="before")
    claimed = await claim(store)
    paths = ("before/a.txt", "before/album/b.txt", "beforehand/c.txt")
    items = [Item(index=n, name=path[-5:], path=path, size=1) for n, path in enumerate(paths)]
    await claimed.plan("title", items, Progress(), [])
    await any_catalogue.folders.change(folder.id, name="after")
    done = [replace(each, status=ItemStatus.COMPLETED) for each in items]
    await claimed.finish(Status.COMPLETED, items=done)
    found = await any_catalogue.files.of_task(claimed.task.id, 0, 10)
    paths_now = await any_catalogue.folders.paths([file.folder_id for file in found])
    shown = [f"{paths_now[file.folder_id]}/{file.name}" for file in found]
    assert shown == ["/after/a.txt", "/after/album/b.txt", "/beforehand/c.txt"]


async def test_a_folder_that_was_deleted_meanwhile_is_made_again(
    store: Store, any_catalogue: Catalogue
) -> None:
    folder = await any_catalogue.folders.make(1, 0, "before")
    await any_catalogue.folders.remove(folder.id)
    task_id = await save(store, "before/a.txt", 1, folder_id=folder.id, path="before")
    file = await the_file(any_catalogue, task_id)
    assert await any_catalogue.folders.paths([file.folder_id]) == {file.folder_id: "/before"}


async def test_the_folder_of_another_user_is_not_used(store: Store, any_catalogue: Catalogue) -> None:
    folder = await any_catalogue.folders.make(2, 0, "before")
    task_id = await save(store, "before/a.txt", 1, folder_id=folder.id, path="before")
    file = await the_file(any_catalogue, task_id)
    assert file.folder_id != folder.id
    async with any_catalogue._database.read() as connection:
        owners = await connection.execute(select(files.c.user_id))
        assert [row.user_id for row in owners] == [1]
