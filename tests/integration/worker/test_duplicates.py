"""Files that a user has saved before, on both engines of the catalogue."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from saveany.catalogue import FileFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.models import Item, ItemStatus, OnDuplicate, Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.storage_set import StorageSet
from saveany.store import Claim
from tests.integration.worker.conftest import FilesSource, JobHarness, content, within
from workers.removals import remove_copies
from workers.storage_queries import reply_forever

SKIP, LINK = OnDuplicate.SKIP, OnDuplicate.LINK


class Died(BaseException):
    """The process was killed."""


@dataclass
class DocumentsSource(FilesSource):
    """Files with Telegram's ids."""

    documents: dict[str, int] = field(default_factory=dict)

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        found = await super().resolve(spec)
        known = (
            {"document": self.documents[each.name]} if each.name in self.documents else {} for each in found
        )
        return [
            ResolvedFile(each.name, each.size, each.source | more)
            for each, more in zip(found, known, strict=True)
        ]


class World:
    """A worker and the process that has the catalogue."""

    def __init__(self, harness: JobHarness, catalogue: Catalogue) -> None:
        self.harness = harness
        self.catalogue = catalogue
        self.source = DocumentsSource({})
        harness.source = self.source

    async def save(self, name: str, data: bytes, document: int | None = None, **spec: Any) -> list[Item]:
        """The items of a task that has saved a file of this name and content."""
        self.source.files = {name: data}
        self.source.documents = {} if document is None else {name: document}
        task_id = await self.harness.accept(**spec)
        await within((await self.harness.job()).run(), 60)
        assert (await self.harness.task(task_id)).status is Status.COMPLETED
        return await self.harness.store.tasks.all_items(task_id)

    async def files(self) -> list[SavedFile]:
        """The files in the catalogue, the oldest first."""
        return (await self.catalogue.files.page(FileFilter())).files[::-1]

    async def remove(self, file: SavedFile) -> None:
        """Delete a file, and its copy if no other file needs it."""
        await self.catalogue.trash.put(file.id, now=True)
        for _ in range(2):
            await self.catalogue.trash.sweep()
            await remove_copies(self.harness.store.removals, self.harness.storage)

    def on_disk(self) -> list[str]:
        return sorted(name for name in self.harness.files() if name != ".saveany-storage")


@pytest.fixture
async def world(harness: JobHarness, any_catalogue: Catalogue) -> AsyncIterator[World]:
    assert await harness.handle.probe()
    replying = asyncio.create_task(reply_forever(harness.store.queries, StorageSet([harness.handle])))
    finding = asyncio.create_task(any_catalogue.duplicates.reply_forever())
    yield World(harness, any_catalogue)
    for task in (replying, finding):
        task.cancel()
    await asyncio.wait([replying, finding])


async def test_a_file_is_saved_again_by_default(world: World) -> None:
    for path in ("one", "two"):
        (item,) = await world.save("a.bin", content("a.bin"), 5, path=path)
        assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)
    first, second = await world.files()
    assert first.sha256 == second.sha256 == hashlib.sha256(content("a.bin")).hexdigest()
    assert world.on_disk() == ["one/a.bin", "two/a.bin"]


@pytest.mark.parametrize("document", [5, None])
async def test_a_file_is_skipped_if_it_was_saved_before(world: World, document: int | None) -> None:
    """By Telegram's id no byte is fetched; by its content it is, and leaves nothing behind."""
    await world.save("a.bin", content("a.bin"), document, path="one")
    (first,) = await world.files()
    await world.catalogue.files.change(first.id, name="renamed.bin", folder_id=0)
    world.source.fetched.clear()
    (item,) = await world.save("b.bin", content("a.bin"), document, path="two", on_duplicate=SKIP)
    assert item.status is ItemStatus.SKIPPED
    assert item.duplicate is not None
    assert (item.duplicate.file_id, item.duplicate.name) == (first.id, "renamed.bin")
    assert (item.duplicate.storage, item.duplicate.path) == ("local1", "one/a.bin")
    assert world.source.fetched == ([] if document else ["b.bin"])
    assert world.on_disk() == ["one/a.bin"]
    assert len(await world.files()) == 1


@pytest.mark.parametrize("document", [5, None])
async def test_a_second_file_gets_the_same_copy(world: World, document: int | None) -> None:
    await world.save("a.bin", content("a.bin"), document, path="one")
    world.source.fetched.clear()
    (item,) = await world.save("b.bin", content("a.bin"), document, path="two", on_duplicate=LINK)
    assert item.status is ItemStatus.COMPLETED
    assert world.source.fetched == ([] if document else ["b.bin"])
    first, second = await world.files()
    assert item.duplicate is not None
    assert item.duplicate.file_id == first.id
    assert (second.name, second.storage, second.path) == ("b.bin", "local1", "one/a.bin")
    assert (second.sha256, second.size) == (first.sha256, first.size)
    paths = await world.catalogue.folders.paths([second.folder_id])
    assert paths == {second.folder_id: "/two"}
    assert world.on_disk() == ["one/a.bin"]
    await world.remove(first)
    assert world.on_disk() == ["one/a.bin"]
    await world.remove(second)
    assert world.on_disk() == []


async def test_the_first_file_is_named(world: World) -> None:
    for path in ("one", "two", "three"):
        await world.save("a.bin", content("a.bin"), 5, path=path)
    first, *_ = await world.files()
    (item,) = await world.save("a.bin", content("a.bin"), 5, on_duplicate=SKIP)
    assert item.duplicate is not None
    assert item.duplicate.file_id == first.id


async def test_several_are_found_by_their_ids(world: World) -> None:
    for path in ("one", "two"):
        await world.save("a.bin", content("a.bin"), 5, path=path)
    size = len(content("a.bin"))
    first, _ = await world.files()
    found = await world.catalogue.duplicates.by_document(1, {5: size, 6: None})
    assert {document: each.file_id for document, each in found.items()} == {5: first.id}
    assert (await world.catalogue.duplicates.by_document(1, {5: None})).keys() == {5}
    assert not await world.catalogue.duplicates.by_document(1, {5: size + 1})
    assert not await world.catalogue.duplicates.by_document(2, {5: size})


async def test_what_has_forgotten_its_task_is_still_found(world: World) -> None:
    await world.save("a.bin", content("a.bin"), path="one")
    await world.catalogue.history.clear()
    (item,) = await world.save("b.bin", content("a.bin"), on_duplicate=SKIP)
    assert item.status is ItemStatus.SKIPPED


@pytest.mark.parametrize("policy", [SKIP, LINK])
@pytest.mark.parametrize("document", [5, None])
async def test_a_file_without_its_copy_is_no_duplicate(
    world: World, policy: OnDuplicate, document: int | None
) -> None:
    await world.save("a.bin", content("a.bin"), document, path="one")
    (world.harness.folder / "one/a.bin").unlink()
    (item,) = await world.save("a.bin", content("a.bin"), document, path="two", on_duplicate=policy)
    assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)
    assert world.on_disk() == ["two/a.bin"]
    first, _ = await world.files()
    assert first.missing_at is not None
    (again,) = await world.save("a.bin", content("a.bin"), document, path="three", on_duplicate=policy)
    assert again.duplicate is not None
    assert again.duplicate.path == "two/a.bin"


async def test_a_file_in_a_storage_without_paths_is_not_taken_for_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a chat in Telegram."""
    await world.save("a.bin", content("a.bin"), 5, path="one")
    storage = world.harness.storage

    async def stat(path: str) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(storage, "capabilities", dataclasses.replace(storage.capabilities, lists=False))
        patch.setattr(storage, "stat", stat)
        (item,) = await world.save("a.bin", content("a.bin"), 5, path="two", on_duplicate=SKIP)
    assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)
    assert [each.missing_at for each in await world.files()] == [None, None]


@pytest.mark.parametrize("policy", [SKIP, LINK])
async def test_other_files_are_no_duplicates(world: World, policy: OnDuplicate) -> None:
    """Those in the trash, those of other users, and those of another content or size."""
    await world.save("a.bin", content("a.bin"), 5, path="one")
    (first,) = await world.files()
    await world.catalogue.trash.put(first.id)
    await world.save("a.bin", content("a.bin"), 5, path="two", user_id=2)
    (item,) = await world.save("a.bin", content("a.bin"), 5, path="three", on_duplicate=policy)
    assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)
    (other,) = await world.save("b.bin", content("b.bin"), path="four", on_duplicate=policy)
    assert other.duplicate is None
    (longer,) = await world.save("a.bin", content("a.bin") + b"x", 5, path="five", on_duplicate=policy)
    assert longer.duplicate is None
    assert len(world.on_disk()) == 5


async def test_a_file_is_saved_if_nobody_knows(
    harness: JobHarness, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a process that has the catalogue, and without a worker that has the storage."""
    monkeypatch.setattr("saveany.store.duplicates.REPLY_SECONDS", 1)
    world = World(harness, any_catalogue)
    await world.save("a.bin", content("a.bin"), 5, path="one")
    (item,) = await world.save("a.bin", content("a.bin"), 5, path="two", on_duplicate=SKIP)
    assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)


async def test_a_copy_that_is_removed_meanwhile_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.save("a.bin", content("a.bin"), 5, path="one")
    (first,) = await world.files()
    real, calls = Claim.find_duplicate, count()

    async def then_remove(claim: Claim, item: Item) -> Any:
        found = await real(claim, item)
        if next(calls) == 0:
            await world.remove(first)
        return found

    monkeypatch.setattr(Claim, "find_duplicate", then_remove)
    (item,) = await world.save("a.bin", content("a.bin"), 5, path="two", on_duplicate=LINK)
    assert (item.status, item.duplicate) == (ItemStatus.COMPLETED, None)
    assert world.on_disk() == ["two/a.bin"]
    assert await world.harness.store.db.do("EXISTS", "sa:publishing:local1") == 0


async def test_a_copy_stays_while_a_second_file_gets_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.save("a.bin", content("a.bin"), 5, path="one")
    (first,) = await world.files()
    real = Claim.finish

    async def remove_first(claim: Claim, *args: Any, **more: Any) -> None:
        monkeypatch.setattr(Claim, "finish", real)
        await world.remove(first)
        await real(claim, *args, **more)

    monkeypatch.setattr(Claim, "finish", remove_first)
    await world.save("a.bin", content("a.bin"), 5, path="two", on_duplicate=LINK)
    for _ in range(2):
        await world.catalogue.trash.sweep()
        await remove_copies(world.harness.store.removals, world.harness.storage)
    (second,) = await world.files()
    assert second.path == "one/a.bin"
    assert world.on_disk() == ["one/a.bin"]


@pytest.mark.parametrize("step", ["find_duplicate", "item", "finish"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("document", [5, None])
async def test_a_kill_at_any_step_leaves_one_copy(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, after: bool, document: int | None
) -> None:
    await world.save("a.bin", content("a.bin"), document, path="one")
    world.source.files = {"b.bin": content("a.bin")}
    world.source.documents = {} if document is None else {"b.bin": document}
    task_id = await world.harness.accept(path="two", on_duplicate=LINK)
    job = await world.harness.job()
    real = getattr(Claim, step)
    dead = asyncio.Event()

    async def dying(*args: Any, **more: Any) -> Any:
        if after:
            await real(*args, **more)
        dead.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Claim, step, dying)
        running = asyncio.create_task(job.run())
        await asyncio.wait_for(dead.wait(), 60)
    ended = step == "finish" and after
    if not ended:
        await world.harness.expire_lease(task_id)
        await within((await world.harness.job()).run(), 60)
    running.cancel()
    await asyncio.wait([running])
    assert (await world.harness.task(task_id)).status is Status.COMPLETED
    first, second = await world.files()
    assert (first.path, second.path) == ("one/a.bin", "one/a.bin")
    assert world.on_disk() == ["one/a.bin"]
    assert await world.harness.store.db.do("EXISTS", "sa:publishing:local1") == 0
    assert replace(second, path="") != replace(first, path="")


async def test_tasks_for_one_document_at_the_same_time_save_it_once(world: World) -> None:
    world.source.files, world.source.documents = {"a.bin": content("a.bin")}, {"a.bin": 5}
    started = asyncio.Event()

    async def step(name: str, offset: int) -> None:
        started.set()
        await asyncio.wait({jobs[1]}, timeout=0.3)  # long enough for the other job to ask

    world.source.step = step
    for path in ("one", "two"):
        await world.harness.accept(path=path, on_duplicate=LINK)
    jobs = [asyncio.create_task((await world.harness.job()).run())]
    jobs.append(asyncio.create_task((await world.harness.job()).run()))
    await started.wait()
    await within(asyncio.gather(*jobs), 60)
    assert world.source.fetched == ["a.bin"]
    assert len(world.on_disk()) == 1
    assert sorted(each.path for each in await world.files()) == world.on_disk() * 2


async def test_a_document_of_a_dead_task_is_not_waited_for(world: World) -> None:
    await world.harness.store.db.do("SET", "sa:fetching:1:5", "00000000000000000000-0")
    (item,) = await world.save("a.bin", content("a.bin"), 5, on_duplicate=LINK)
    assert item.status is ItemStatus.COMPLETED
