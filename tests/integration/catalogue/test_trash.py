"""Deleted files: the trash, and the removal of their copies by workers, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from saveany.catalogue import FileFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.link_models import LinkTarget, State
from saveany.catalogue.trash import Trash
from saveany.errors import NotFound, StorageUnavailable
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Claim, Store, keys
from saveany.store.removals import Removals
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.fixtures.waiting import until
from tests.integration.catalogue.test_files import names, save
from tests.integration.store.test_lifecycle import accept, claim
from workers.removals import remove_copies

DAY_MS = 24 * 3600 * 1000


class Died(BaseException):
    """The process was killed."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def storage(folder: Path) -> LocalStorage:
    return LocalStorage(LocalOptions(name="local1", type="local", base_path=folder))


async def only_file(catalogue: Catalogue) -> SavedFile:
    (file,) = (await catalogue.files.page(FileFilter())).files
    return file


async def saved(store: Store, catalogue: Catalogue, folder: Path, name: str = "a.mkv") -> SavedFile:
    """A file that was saved, with its copy."""
    (folder / name).write_bytes(b"x")
    await save(store, name)
    (file,) = (await catalogue.files.page(FileFilter(q=name))).files
    return file


async def remove(store: Store, catalogue: Catalogue, storage: LocalStorage) -> None:
    """What API and worker do about deleted files."""
    await catalogue.trash.sweep()
    await remove_copies(store.removals, storage)
    await catalogue.trash.sweep()


async def in_trash(catalogue: Catalogue) -> list[str]:
    return [file.name for file in (await catalogue.trash.page()).files]


async def publishing(store: Store, path: str) -> tuple[Claim, Item]:
    """A task that is about to make a file visible at this path."""
    await accept(store, user_id=1)
    claimed = await claim(store)
    item = Item(index=0, name=path, path=path, size=1, status=ItemStatus.RUNNING)
    await claimed.plan("title", [item], Progress(), [])
    return claimed, replace(item, status=ItemStatus.FINISHING, final=path)


async def test_a_deleted_file_is_restored_with_its_links(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    link = await any_catalogue.links.make(1, LinkTarget(file_id=file.id), "a.mkv")
    await any_catalogue.trash.put(file.id)
    assert await names(any_catalogue) == []
    assert await any_catalogue.files.get(file.id) is None
    assert await any_catalogue.files.stats(None) == {"type": {}, "storage": {}, "user": {}, "day": {}}
    (deleted,) = (await any_catalogue.trash.page()).files
    assert deleted.deleted_at is not None
    assert replace(deleted, deleted_at=None) == file
    gone = await any_catalogue.links.get(link.token)
    assert gone is not None
    assert gone.state is State.GONE
    with pytest.raises(NotFound):
        await any_catalogue.trash.put(file.id)
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists()
    await any_catalogue.trash.restore(file.id)
    assert await only_file(any_catalogue) == file
    assert await in_trash(any_catalogue) == []
    back = await any_catalogue.links.get(link.token)
    assert back is not None
    assert back.state is State.ACTIVE
    with pytest.raises(NotFound):
        await any_catalogue.trash.restore(file.id)


async def test_pages_of_the_trash(store: Store, any_catalogue: Catalogue) -> None:
    await save(store, *(f"{n}.bin" for n in range(5)), user=1)
    await save(store, "other.bin", user=2)
    for file in (await any_catalogue.files.page(FileFilter())).files:
        await any_catalogue.trash.put(file.id)
    found, cursor = [], ""
    while True:
        page = await any_catalogue.trash.page(1, 2, cursor)
        found += [file.name for file in page.files]
        if not (cursor := page.cursor):
            break
    assert sorted(found) == [f"{n}.bin" for n in range(5)]
    assert await any_catalogue.trash.empty(2) == 1
    assert len(await in_trash(any_catalogue)) == 5


@pytest.mark.parametrize("how", ["now", "now, from the trash", "emptied", "old"])
async def test_the_copy_of_a_file_that_leaves_the_trash_is_removed(
    store: Store,
    any_catalogue: Catalogue,
    folder: Path,
    storage: LocalStorage,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = await saved(store, any_catalogue, folder)
    other = await saved(store, any_catalogue, folder, "other.mkv")
    trash = any_catalogue.trash
    if how != "now":
        await trash.put(file.id)
        await remove(store, any_catalogue, storage)
        assert (folder / "a.mkv").exists()
    if how.startswith("now"):
        await trash.put(file.id, now=True)
    elif how == "emptied":
        assert await trash.empty() == 1
    else:
        trash._days = 30
        monkeypatch.setattr("saveany.catalogue.trash._DAY_MS", -DAY_MS)
    await remove(store, any_catalogue, storage)
    assert not (folder / "a.mkv").exists()
    assert (folder / "other.mkv").exists()
    assert await in_trash(any_catalogue) == []
    assert await only_file(any_catalogue) == other
    with pytest.raises(NotFound):
        await trash.restore(file.id)
    assert await store.db.do("EXISTS", "sa:removals:local1", "sa:removed") == 0
    assert not await trash.sweep()


async def test_a_file_that_is_not_old_enough_stays(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    any_catalogue.trash._days = 1
    await any_catalogue.trash.put(file.id)
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists()
    assert await in_trash(any_catalogue) == ["a.mkv"]


async def test_a_deleted_file_does_not_come_back_with_its_task(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    for _ in range(2):
        await store.db.do("XADD", "sa:record", "*", "task", file.task_id or "", "items", "*")
        assert await names(any_catalogue) == []
        await remove(store, any_catalogue, storage)
        await any_catalogue.trash.forget()
    await any_catalogue.history.clear()
    await any_catalogue.trash.forget()
    async with any_catalogue._database.read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM files")).scalar() == 0


async def test_a_copy_that_another_file_has_too_stays(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    (folder / "a.mkv").write_bytes(b"x")
    for _ in range(3):
        await save(store, "a.mkv")
    one, two, three = (await any_catalogue.files.page(FileFilter())).files
    await any_catalogue.trash.put(one.id, now=True)
    await any_catalogue.trash.put(two.id)
    await remove(store, any_catalogue, storage)
    await any_catalogue.trash.put(three.id, now=True)
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists(), "a file in the trash may be restored"
    await any_catalogue.trash.empty()
    await remove(store, any_catalogue, storage)
    assert not (folder / "a.mkv").exists()
    assert not await any_catalogue.trash.sweep()


async def test_a_copy_that_was_replaced_from_outside_stays(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    (folder / "a.mkv").write_bytes(b"other")
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").read_bytes() == b"other"
    assert not await any_catalogue.trash.sweep(), "it is not tried again"


async def test_a_copy_that_is_gone_already_is_removed(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    (folder / "a.mkv").unlink()
    await any_catalogue.trash.put(file.id, now=True)
    await remove(store, any_catalogue, storage)
    assert not await any_catalogue.trash.sweep()


async def test_a_removal_waits_for_its_storage(
    store: Store,
    any_catalogue: Catalogue,
    folder: Path,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    with monkeypatch.context() as patch:

        async def fail(path: str) -> None:
            raise StorageUnavailable("down")

        patch.setattr(storage, "delete", fail)
        await remove(store, any_catalogue, storage)
    assert await any_catalogue.trash.sweep(), "it remains"
    await remove(store, any_catalogue, storage)
    assert not (folder / "a.mkv").exists()


async def test_a_copy_stays_while_a_task_saves_a_file_there(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    """Also if the file was deleted after the task had begun to replace it."""
    file = await saved(store, any_catalogue, folder)
    claimed, item = await publishing(store, "a.mkv")
    await claimed.item(item)
    await any_catalogue.trash.put(file.id, now=True)
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists()
    await claimed.finish(Status.COMPLETED, items=[replace(item, status=ItemStatus.COMPLETED)])
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists()
    assert await names(any_catalogue) == ["a.mkv"]
    assert not await any_catalogue.trash.sweep()
    assert await store.db.do("EXISTS", "sa:publishing:local1") == 0


async def test_a_task_calls_a_removal_off(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    """It is made anew if the file is saved elsewhere in the end."""
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    await any_catalogue.trash.sweep()
    (ready,) = await store.removals.ready("local1")
    claimed, item = await publishing(store, "a.mkv")
    await claimed.item(item)
    assert await store.removals.ready("local1") == []
    assert not await store.removals.take(ready)
    await claimed.item(replace(item, final="a_1.mkv"))
    await remove(store, any_catalogue, storage)
    assert not (folder / "a.mkv").exists()


async def test_a_task_waits_while_a_copy_is_removed(
    store: Store, any_catalogue: Catalogue, folder: Path
) -> None:
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    await any_catalogue.trash.sweep()
    (ready,) = await store.removals.ready("local1")
    assert await store.removals.take(ready)
    assert not await store.removals.take(ready), "one worker at a time"
    claimed, item = await publishing(store, "a.mkv")
    writing = asyncio.create_task(claimed.item(item))
    _, pending = await asyncio.wait([writing], timeout=0.5)
    assert pending
    (unchanged,) = await store.tasks.all_items(claimed.task.id)
    assert unchanged.final == ""
    await store.removals.end(ready, done=True)
    await writing
    (recorded,) = await store.tasks.all_items(claimed.task.id)
    assert recorded.final == "a.mkv"


async def test_a_task_that_has_gone_does_not_hold_up_a_removal(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    await store.db.do("HSET", "sa:publishing:local1", "a.mkv", "nothing:0")
    await any_catalogue.trash.put(file.id, now=True)
    await remove(store, any_catalogue, storage)
    assert not (folder / "a.mkv").exists()


async def test_a_file_that_is_recorded_between_two_steps_keeps_its_copy(
    store: Store,
    any_catalogue: Catalogue,
    folder: Path,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever step a task that saves to the same path comes before."""
    steps: list[tuple[type, str]] = [
        (Removals, "propose"),
        (type(any_catalogue.recorder), "catch_up_completely"),
        (Removals, "decide"),
    ]
    for number, (owner, step) in enumerate(steps):
        name = f"{number}.mkv"
        file = await saved(store, any_catalogue, folder, name)
        await any_catalogue.trash.put(file.id, now=True)
        real = getattr(owner, step)

        async def between(*args: Any, real: Any = real, name: str = name, **more: Any) -> Any:
            claimed, item = await publishing(store, name)
            await claimed.item(item)
            await claimed.finish(Status.COMPLETED, items=[replace(item, status=ItemStatus.COMPLETED)])
            return await real(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(owner, step, between)
            await any_catalogue.trash.sweep()
        await remove_copies(store.removals, storage)
        assert (folder / name).exists(), step
        await remove(store, any_catalogue, storage)
        assert (folder / name).exists(), step
        assert name in await names(any_catalogue)


def _kills() -> Iterator[tuple[type, str, bool]]:
    for owner, name in (
        (Removals, "propose"),
        (Removals, "decide"),
        (Removals, "take"),
        (LocalStorage, "size"),
        (LocalStorage, "delete"),
        (Removals, "end"),
        (Removals, "removed"),
        (Removals, "forget"),
        (Trash, "_purge_old"),
        (Trash, "_record_removed"),
    ):
        yield owner, name, False
        yield owner, name, True


@pytest.mark.parametrize(("owner", "step", "after"), list(_kills()))
async def test_a_kill_at_any_step_is_made_up_for(
    store: Store,
    any_catalogue: Catalogue,
    folder: Path,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    after: bool,
) -> None:
    file = await saved(store, any_catalogue, folder)
    kept = await saved(store, any_catalogue, folder, "kept.mkv")
    await any_catalogue.trash.put(file.id, now=True)
    real: Callable[..., Any] = getattr(owner, step)
    calls = []

    async def dying(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if after:
            await real(*args, **more)
        raise Died

    sweep, work = any_catalogue.trash.sweep, partial(remove_copies, store.removals, storage)
    actions: list[Callable[[], Awaitable[object]]] = [sweep, work, sweep]
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dying)
        for action in actions:
            try:
                await action()
            except Died:
                break
    assert calls
    await store.db.do("DEL", "sa:removing:local1:a.mkv")  # as if its time were up
    await remove(store, any_catalogue, storage)
    assert [path.name for path in folder.glob("*.mkv")] == ["kept.mkv"]
    assert await only_file(any_catalogue) == kept
    assert not await any_catalogue.trash.sweep()


async def test_a_second_removal_does_not_remove_what_was_saved_after_the_first(
    store: Store,
    any_catalogue: Catalogue,
    folder: Path,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker dies after the copy is gone; then the same file is saved there again."""
    file = await saved(store, any_catalogue, folder)
    await any_catalogue.trash.put(file.id, now=True)
    await any_catalogue.trash.sweep()

    async def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Removals, "end", die)
        with pytest.raises(Died):
            await remove_copies(store.removals, storage)
    await store.db.do("DEL", "sa:removing:local1:a.mkv")  # as if its time were up
    assert not (folder / "a.mkv").exists()
    claimed, item = await publishing(store, "a.mkv")
    await claimed.item(item)
    (folder / "a.mkv").write_bytes(b"x")
    await remove(store, any_catalogue, storage)
    await claimed.finish(Status.COMPLETED, items=[replace(item, status=ItemStatus.COMPLETED)])
    await remove(store, any_catalogue, storage)
    assert (folder / "a.mkv").exists()
    assert await names(any_catalogue) == ["a.mkv"]


async def test_a_folder_is_deleted_with_its_files_and_restored_by_them(
    store: Store, any_catalogue: Catalogue
) -> None:
    await save(store, "films/2024/a.mkv", "films/b.mkv", "c.mkv", user=7)
    by_name = {file.name: file for file in (await any_catalogue.files.page(FileFilter())).files}
    await any_catalogue.trash.put(by_name["b.mkv"].id)
    (films,) = (await any_catalogue.folders.children(0, 7)).folders
    await any_catalogue.folders.remove(films.id, with_files=True)
    assert (await any_catalogue.folders.children(0, 7)).folders == []
    assert await names(any_catalogue) == ["c.mkv"]
    assert sorted(await in_trash(any_catalogue)) == ["a.mkv", "b.mkv"]
    for name in ("a.mkv", "b.mkv"):
        await any_catalogue.trash.restore(by_name[name].id)
    found = {file.name: file.folder_id for file in (await any_catalogue.files.page(FileFilter())).files}
    paths = await any_catalogue.folders.paths(found.values())
    assert {name: paths[folder] for name, folder in found.items()} == {
        "a.mkv": "/films/2024",
        "b.mkv": "/films",
        "c.mkv": "/",
    }


async def test_the_recorder_process_has_copies_removed(
    store: Store, any_catalogue: Catalogue, folder: Path, storage: LocalStorage
) -> None:
    file = await saved(store, any_catalogue, folder)
    async with any_catalogue.running():
        await any_catalogue.trash.put(file.id, now=True)

        async def is_removed() -> bool:
            await remove_copies(store.removals, storage)
            return not (folder / "a.mkv").exists()

        await until(is_removed)


async def test_a_damaged_list_of_removed_copies_ends_the_sweep(store: Store, catalogue: Catalogue) -> None:
    await store.db.do("SADD", keys.REMOVED(), '["local1", "written by somebody else"]', "damaged")
    async with asyncio.timeout(20):
        await catalogue.trash.sweep()
