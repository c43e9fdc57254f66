"""Renaming and moving files and folders, on both engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from saveany.catalogue import FileFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.errors import InvalidInput, NotFound, WrongState
from saveany.store import Store
from tests.fixtures.catalogue import Postgres, postgres_database
from tests.integration.catalogue.test_files import names, save


async def only_file(catalogue: Catalogue) -> SavedFile:
    (file,) = (await catalogue.files.page(FileFilter())).files
    return file


async def test_a_file_is_renamed_moved_and_described(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "in/a.mkv", user=7, text="old words")
    file = await only_file(any_catalogue)
    films = await any_catalogue.folders.make(7, 0, "films")
    changed = await any_catalogue.files.change(
        file.id, name="海边.mkv", folder_id=films.id, caption="new words"
    )
    assert (changed.name, changed.folder_id, changed.caption) == ("海边.mkv", films.id, "new words")
    assert (changed.storage, changed.path) == (file.storage, file.path)
    assert changed == await any_catalogue.files.get(file.id)
    assert await names(any_catalogue, q="海边") == ["海边.mkv"]
    assert await names(any_catalogue, q="new words", folder_id=films.id) == ["海边.mkv"]
    assert await names(any_catalogue, q="old words") == []
    assert await any_catalogue.files.change(file.id) == changed


async def test_what_the_user_has_changed_stays_when_the_task_is_recorded_again(
    store: Store, any_catalogue: Catalogue
) -> None:
    task_id = await save(store, "in/a.mkv", user=7)
    file = await only_file(any_catalogue)
    await any_catalogue.files.change(file.id, name="b.mkv", folder_id=0)
    await store.db.do("XADD", "sa:record", "*", "task", task_id, "items", "*")
    again = await only_file(any_catalogue)
    assert (again.id, again.name, again.folder_id) == (file.id, "b.mkv", 0)


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", " .. ", "a/b", "a\\b", "a\0b", "a\nb", "\u202egpj.exe", "\ud800", "x" * 256]
)
async def test_a_name_that_is_not_allowed_is_refused(
    store: Store, any_catalogue: Catalogue, name: str
) -> None:
    await save(store, "a.mkv", user=7)
    file = await only_file(any_catalogue)
    folder = await any_catalogue.folders.make(7, 0, "films")
    with pytest.raises(InvalidInput):
        await any_catalogue.files.change(file.id, name=name)
    with pytest.raises(InvalidInput):
        await any_catalogue.folders.make(7, 0, name)
    with pytest.raises(InvalidInput):
        await any_catalogue.folders.change(folder.id, name=name)


@pytest.mark.parametrize(
    "name", ["…", "a b", "'; DROP TABLE files; --", "%_", "é" * 255, "👩‍👩‍👧.mp4", "a..b"]
)
async def test_an_unusual_name_is_kept(store: Store, any_catalogue: Catalogue, name: str) -> None:
    await save(store, "a.mkv", user=7)
    file = await only_file(any_catalogue)
    assert (await any_catalogue.files.change(file.id, name=name)).name == name
    folder = await any_catalogue.folders.make(7, 0, f"{name}"[:254] + "x")
    assert (await any_catalogue.folders.get(folder.id)) == folder


async def test_no_two_things_in_a_folder_get_the_same_name(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "films/a.mkv", "films/b.mkv", "films/c/d.mkv", user=7)
    await save(store, "e.mkv", user=8)
    by_name = {file.name: file for file in (await any_catalogue.files.page(FileFilter())).files}
    films = by_name["a.mkv"].folder_id
    (inner,) = (await any_catalogue.folders.children(films, 7)).folders
    for change in (
        any_catalogue.files.change(by_name["a.mkv"].id, name="b.mkv"),
        any_catalogue.files.change(by_name["a.mkv"].id, name="c"),
        any_catalogue.files.change(by_name["d.mkv"].id, folder_id=films, name="a.mkv"),
        any_catalogue.folders.make(7, films, "c"),
        any_catalogue.folders.make(7, films, "a.mkv"),
        any_catalogue.folders.change(inner.id, name="b.mkv"),
    ):
        with pytest.raises(WrongState, match="choose another name"):
            await change
    await any_catalogue.files.change(by_name["a.mkv"].id, name="e.mkv", folder_id=0)
    await any_catalogue.folders.change(inner.id, name="c")


async def test_a_folder_is_not_moved_into_itself(store: Store, any_catalogue: Catalogue) -> None:
    top = await any_catalogue.folders.make(7, 0, "top")
    middle = await any_catalogue.folders.make(7, top.id, "middle")
    low = await any_catalogue.folders.make(7, middle.id, "low")
    for target in (top, middle, low):
        with pytest.raises(WrongState, match="into itself"):
            await any_catalogue.folders.change(top.id, parent_id=target.id)
    await any_catalogue.folders.change(low.id, parent_id=0)
    await any_catalogue.folders.change(top.id, parent_id=low.id)
    assert await any_catalogue.folders.paths([middle.id]) == {middle.id: "/low/top/middle"}


async def test_folders_that_are_moved_at_the_same_time_form_no_ring(
    store: Store, any_catalogue: Catalogue
) -> None:
    one = await any_catalogue.folders.make(7, 0, "one")
    two = await any_catalogue.folders.make(7, 0, "two")
    results = await asyncio.gather(
        any_catalogue.folders.change(one.id, parent_id=two.id),
        any_catalogue.folders.change(two.id, parent_id=one.id),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["Folder", "WrongState"]


async def test_processes_that_make_the_same_folder_make_one(
    postgres: Postgres, patient: None, store: Store, tmp_path: Path
) -> None:
    async with postgres_database(postgres) as url:
        several = [Catalogue(url, tmp_path, store) for _ in range(4)]
        made = await asyncio.gather(
            *(each.folders.make(7, 0, "films") for each in several), return_exceptions=True
        )
        names_of = sorted(type(each).__name__ for each in made)
        assert names_of == ["Folder", "WrongState", "WrongState", "WrongState"]
        for each in several:
            await each.close()


async def test_only_an_empty_folder_is_removed(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "films/c/d.mkv", user=7)
    file = await only_file(any_catalogue)
    (films,) = (await any_catalogue.folders.children(0, 7)).folders
    for folder_id in (films.id, file.folder_id):
        with pytest.raises(WrongState, match="not empty"):
            await any_catalogue.folders.remove(folder_id)
    await any_catalogue.files.change(file.id, folder_id=0)
    await any_catalogue.folders.remove(file.folder_id)
    await any_catalogue.folders.remove(films.id)
    assert (await any_catalogue.folders.children(0, None)).folders == []
    with pytest.raises(NotFound):
        await any_catalogue.folders.remove(films.id)


async def test_a_folder_that_was_removed_is_made_again_when_a_file_is_saved_there(
    store: Store, any_catalogue: Catalogue
) -> None:
    films = await any_catalogue.folders.make(7, 0, "films")
    await any_catalogue.folders.remove(films.id)
    await save(store, "films/a.mkv", user=7)
    file = await only_file(any_catalogue)
    assert await any_catalogue.folders.paths([file.folder_id]) == {file.folder_id: "/films"}


async def test_files_and_folders_stay_with_their_user(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, "a.mkv", user=7)
    file = await only_file(any_catalogue)
    foreign = await any_catalogue.folders.make(8, 0, "films")
    own = await any_catalogue.folders.make(7, 0, "films")
    with pytest.raises(NotFound):
        await any_catalogue.files.change(file.id, folder_id=foreign.id)
    with pytest.raises(NotFound):
        await any_catalogue.folders.change(own.id, parent_id=foreign.id)
    with pytest.raises(NotFound):
        await any_catalogue.folders.make(7, foreign.id, "x")
    for missing in (0, 10**9):
        with pytest.raises(NotFound):
            await any_catalogue.folders.change(missing, name="x")
        with pytest.raises(NotFound):
            await any_catalogue.folders.remove(missing)
    with pytest.raises(NotFound):
        await any_catalogue.files.change("nothing", name="x")
