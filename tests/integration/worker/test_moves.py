"""Transfers within one storage, and transfers that move: who dies when, no file is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from msgspec.structs import replace

from saveany.config import Config
from saveany.errors import StorageError
from saveany.models import Item, Status, Task
from saveany.net.guard import AddressGuard
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages.base import Storage, UploadKey
from storages.local.jail import FolderHandle
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.memory import MemoryOptions, MemoryStorage
from storages.rclone.options import RcloneOptions
from storages.rclone.storage import RcloneStorage
from storages.s3.storage import S3Storage
from storages.webdav.storage import WebdavStorage
from tests.fixtures import s3, webdav
from tests.fixtures.s3 import S3Server
from tests.fixtures.webdav import DavServer
from tests.integration.worker import conftest as worker
from tests.integration.worker.conftest import content, within
from workers.item_records import ItemRecords
from workers.jobs import Job
from workers.recovery import remove_leftovers
from workers.sources.base import Tools
from workers.sources.transfer import TransferSource


class Bench(worker.Bench):
    """Jobs that take files from storages; all of them save into `storage`, called `here`."""

    def __init__(self, store: Store, folder: Path, *storages: Storage) -> None:
        super().__init__(store, folder)
        self.storages = {storage.name: storage for storage in storages}
        self.storage = cast(Any, self.storages["here"])
        self.place = StorageHandle(store, self.storage)
        tools = Tools(
            config=Config(),
            scratch=folder,
            guard=AddressGuard([]),
            accounts=cast(Any, None),
            storage=self.storages.__getitem__,
            on_wait=lambda seconds: None,
            take=cast(Any, None),
            rate=cast(Any, None),
        )
        self.source = cast(Any, TransferSource(tools))

    async def transfer(self, path: str, **changes: Any) -> str:
        """A task that takes that path from `changes["source_storage"]`, else from `here`."""
        changes = {"source_storage": "here", "storage": "here", "path": "to", **changes}
        return await self.accept(links=(path,), **changes)

    async def done(self, task_id: str) -> tuple[Task, list[Item]]:
        await within((await self.job()).run())
        return await self.task(task_id), await self.store.tasks.all_items(task_id)

    async def claim(self) -> Any:
        lanes = [f"tgfiles@{name}/here" for name in self.storages]
        claim = await self.store.claims.claim("w", lanes)
        assert claim is not None
        return claim


async def save(storage: Storage, path: str, data: bytes) -> None:
    async with await storage.begin(UploadKey("earlier", 0, 1), path, len(data)) as upload:
        await upload.write(0, data)
        await upload.commit(path, len(data), replace=False)


async def load(storage: Storage, path: str) -> bytes:
    async with await storage.open(path) as reader:
        return b"".join([piece async for piece in reader.read()])


async def everything(storage: Storage) -> set[str]:
    return {entry.path async for entry in storage.walk("")}


def memory(name: str = "here", space: str = "") -> MemoryStorage:
    return MemoryStorage(MemoryOptions(name=name, type="memory", space=space or uuid4().hex))


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def dav() -> Iterator[DavServer]:
    with webdav.rclone() as server:
        yield server


@pytest.fixture(params=["memory", "local", "s3", "webdav", "rclone"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "memory":
        made: Storage = memory()
    elif request.param == "local":
        made = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    elif request.param == "rclone":
        made = RcloneStorage(RcloneOptions(name="here", type="rclone", remote=f":local:{tmp_path}/here"))
    elif request.param == "s3":
        server = request.getfixturevalue("moto")
        made = S3Storage(server.options(server.bucket(), name="here"))
    else:
        made = WebdavStorage(request.getfixturevalue("dav").options(uuid4().hex, name="here"))
    yield made
    await made.close()


DATA = content("a.bin", 6 << 20)


@pytest.mark.parametrize("move", [False, True])
async def test_within_one_storage_no_byte_comes_here(
    store: Store, tmp_path: Path, storage: Storage, move: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(store, tmp_path, storage)
    await save(storage, "from/a.bin", DATA)
    await save(storage, "from/b/empty", b"")
    task_id = await bench.transfer("from", params={"move": move})
    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "open", None)
        task, items = await bench.done(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert task.progress.downloaded_bytes == task.progress.total_bytes == len(DATA)
    assert [(item.final, item.size, item.sha256) for item in items] == [
        ("to/a.bin", len(DATA), ""),
        ("to/b/empty", 0, ""),
    ]
    there = {"to/a.bin", "to/b/empty"}
    assert await everything(storage) == (there if move else there | {"from/a.bin", "from/b/empty"})
    assert await load(storage, "to/a.bin") == DATA


async def test_between_two_disks_of_one_storage(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    bench = Bench(store, tmp_path, storage)
    await save(storage, "from/a.bin", DATA)
    rename = FolderHandle.publish

    def publish(self: FolderHandle, old: str, new: str, to: FolderHandle | None = None) -> None:
        if to and os.fstat(to.fd).st_ino != os.fstat(self.fd).st_ino:
            raise OSError(errno.EXDEV, "two disks")
        rename(self, old, new, to)

    monkeypatch.setattr(FolderHandle, "publish", publish)
    task, (item,) = await bench.done(await bench.transfer("from", params={"move": True}))
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/a.bin")
    assert await load(storage, "to/a.bin") == DATA
    assert await everything(storage) == {"to/a.bin"}
    await storage.close()


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize(
    ("policy", "final", "left"),
    [("rename", "to/a_1.bin", b"before"), ("overwrite", "to/a.bin", DATA), ("skip", "", b"before")],
)
async def test_a_name_that_is_taken(
    store: Store, tmp_path: Path, storage: Storage, policy: str, final: str, left: bytes, move: bool
) -> None:
    bench = Bench(store, tmp_path, storage)
    await save(storage, "a.bin", DATA)
    await save(storage, "to/a.bin", b"before")
    task, (item,) = await bench.done(await bench.transfer("a.bin", params={"move": move}, on_conflict=policy))
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", final)
    assert await load(storage, "to/a.bin") == left
    if final:
        assert await load(storage, final) == DATA
    kept = {"a.bin"} if not (move and final) else set[str]()
    assert await everything(storage) == kept | {"to/a.bin"} | ({final} - {""})


@pytest.mark.parametrize("policy", ["rename", "overwrite", "skip"])
async def test_a_move_to_where_it_is(store: Store, tmp_path: Path, storage: Storage, policy: str) -> None:
    bench = Bench(store, tmp_path, storage)
    await save(storage, "to/a.bin", DATA)
    task, _ = await bench.done(await bench.transfer("to", params={"move": True}, on_conflict=policy))
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert await everything(storage) == {"to/a.bin"}
    assert await load(storage, "to/a.bin") == DATA


async def test_a_file_that_the_server_cannot_copy_is_streamed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = memory()
    bench = Bench(store, tmp_path, storage)
    await save(storage, "a.bin", DATA)

    async def refuse(path: str, to: str) -> None:
        storage._space.files[to] = (bytearray(b"half"), 1)
        raise StorageError("this server does not copy")

    monkeypatch.setattr(storage, "_copy", refuse)
    task, (item,) = await bench.done(await bench.transfer("a.bin"))
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert item.sha256
    assert set(storage._space.files) == {"a.bin", "to/a.bin"}
    assert await load(storage, "to/a.bin") == DATA


async def test_buckets_of_one_account(store: Store, tmp_path: Path, moto: S3Server) -> None:
    here, there = (S3Storage(moto.options(moto.bucket(), name=name)) for name in ("here", "there"))
    bench = Bench(store, tmp_path, here, there)
    await save(there, "x/ä #.bin", DATA)
    there.open = cast(Any, None)  # type: ignore[method-assign]  # nobody reads
    task, (item,) = await bench.done(await bench.transfer("x", source_storage="there", params={"move": True}))
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/ä #.bin")
    assert await load(here, "to/ä #.bin") == DATA
    assert await everything(there) == set()
    for storage in (here, there):
        await storage.close()


def two_folders(tmp_path: Path, below: str = "there") -> tuple[LocalStorage, LocalStorage]:
    here = LocalStorage(LocalOptions(name="here", type="local", base_path=tmp_path / "here"))
    there = LocalStorage(LocalOptions(name="there", type="local", base_path=tmp_path / below))
    return here, there


async def test_a_move_between_storages(store: Store, tmp_path: Path) -> None:
    there = memory("there")
    bench = Bench(store, tmp_path, memory(), there)
    await save(there, "x/a.bin", DATA)
    await save(there, "x/b.bin", b"b")
    await save(there, "y.bin", b"y")
    await save(bench.storage, "to/b.bin", b"is here")
    task, items = await bench.done(
        await bench.transfer("x", source_storage="there", params={"move": True}, on_conflict="skip")
    )
    assert (task.status, task.error) == (Status.COMPLETED, "")
    assert items[0].sha256
    assert await everything(there) == {"x/b.bin", "y.bin"}  # what was skipped stays
    assert await load(bench.storage, "to/a.bin") == DATA


async def test_two_storages_that_are_one_folder(store: Store, tmp_path: Path) -> None:
    """What would be replaced is what is taken: it must not be removed afterwards."""
    here, there = two_folders(tmp_path, "here/to")
    bench = Bench(store, tmp_path, here, there)
    await save(there, "a.bin", DATA)
    await bench.done(
        await bench.transfer("a.bin", source_storage="there", params={"move": True}, on_conflict="overwrite")
    )
    assert await load(here, "to/a.bin") == DATA


async def test_one_folder_without_modification_times(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.memory._now", lambda: 0)
    here, there = memory(space=str(tmp_path)), memory("there", str(tmp_path))
    bench = Bench(store, tmp_path, here, there)
    await save(there, "to/a.bin", DATA)
    task, _ = await bench.done(
        await bench.transfer(
            "to/a.bin", source_storage="there", params={"move": True}, on_conflict="overwrite"
        )
    )
    assert task.status is Status.FAILED
    assert "may be the same file as its copy" in task.error
    assert await load(here, "to/a.bin") == DATA


async def test_a_file_that_changed_after_it_was_copied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory("there")
    bench = Bench(store, tmp_path, memory(), there)
    await save(there, "a.bin", DATA)
    await save(there, "b.bin", b"b")
    real = TransferSource.remove

    async def changed(self: TransferSource, item: Item, spec: Any) -> None:
        there._space.files["a.bin"] = (bytearray(b"new"), 7)
        await real(self, item, spec)

    monkeypatch.setattr(TransferSource, "remove", changed)
    task, _ = await bench.done(
        await bench.transfer("", source_storage="there", params={"move": True, "recursive": False})
    )
    assert task.status is Status.FAILED
    assert "all files were saved, but 1 could not be removed" in task.error
    assert "there:/a.bin was not removed, because it has changed" in task.error
    assert await load(there, "a.bin") == b"new"
    assert await everything(there) == {"a.bin"}
    assert await everything(bench.storage) == {"to/a.bin", "to/b.bin"}


async def test_a_retry_only_removes_the_remaining_originals(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory("there")
    bench = Bench(store, tmp_path, memory(), there)
    await save(there, "a.bin", DATA)
    with monkeypatch.context() as patch:

        async def refuse(path: str) -> None:
            raise StorageError("read only")

        patch.setattr(there, "_remove", refuse)
        task_id = await bench.transfer("a.bin", source_storage="there", params={"move": True})
        task, _ = await bench.done(task_id)
    assert (task.status, "read only" in task.error) == (Status.FAILED, True)
    assert await bench.store.tasks.retry(task)
    task, items = await bench.done(task_id)
    assert (task.status, task.error, len(items)) == (Status.COMPLETED, "", 1)
    assert await everything(there) == set()
    assert await everything(bench.storage) == {"to/a.bin"}


class Gate:
    """Holds the first call of something, before or after it is done, until it is opened."""

    def __init__(self) -> None:
        self.closed = False
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def on(self, patch: pytest.MonkeyPatch, owner: type, name: str, when: str) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def held(*args: Any, **more: Any) -> Any:
            if when == "before":
                await self._hold()
            result = await real(*args, **more)
            if when == "after":
                await self._hold()
            return result

        patch.setattr(owner, name, held)

    async def _hold(self) -> None:
        if self.closed and not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()


class Bucket(MemoryStorage):
    """Cannot give another name to a file that is there: it copies, and removes at the end."""

    capabilities = dataclasses.replace(MemoryStorage.capabilities, late_name=False, exclusive=False)


#: How the file comes to its place, and what happens on the way.
WAYS: dict[str, list[tuple[type, str]]] = {
    "renamed": [(ItemRecords, "put"), (MemoryStorage, "move"), (TransferSource, "remove")],
    "copied": [
        (MemoryStorage, "_copy"),
        (ItemRecords, "put"),
        (MemoryStorage, "_rename"),
        (TransferSource, "remove"),
        (MemoryStorage, "delete"),
    ],
    "fetched": [
        (ItemRecords, "put"),
        (MemoryStorage, "_rename"),
        (TransferSource, "remove"),
        (MemoryStorage, "delete"),
    ],
}
BOUNDARIES = [
    pytest.param(way, step, when, id=f"{way}-{when}-{step[1]}")
    for way, steps in WAYS.items()
    for step in steps
    for when in ("before", "after")
]


class Shelf:
    """A file that is to be moved to `to/a.bin` of the storage `here`, by a job that is held at the gate."""

    def __init__(self, store: Store, folder: Path, way: str) -> None:
        options = MemoryOptions(name="here", type="memory", space=uuid4().hex)
        here = Bucket(options) if way == "copied" else MemoryStorage(options)
        self.target = here._space.files
        self.origin = memory("there") if way == "fetched" else here
        self.bench = Bench(store, folder, here, self.origin)

    async def accept(self) -> str:
        await save(self.origin, "a.bin", DATA)
        return await self.bench.transfer("a.bin", source_storage=self.origin.name, params={"move": True})

    def check(self) -> None:
        """All is where it belongs, and nothing else is anywhere."""
        assert {path: data for path, (data, _) in self.target.items()} == {"to/a.bin": DATA}
        assert self.origin._space.files is self.target or not self.origin._space.files


@pytest.fixture
def shelf(store: Store, tmp_path: Path, way: str) -> Shelf:
    return Shelf(store, tmp_path, way)


@pytest.fixture
def gate(step: tuple[type, str], when: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    gate.on(monkeypatch, *step, when)
    yield gate
    gate.opened.set()


async def held(job: Job, gate: Gate) -> asyncio.Task[None]:
    gate.closed = True
    running = asyncio.create_task(job.run())
    await within(gate.reached.wait(), 10)
    return running


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_the_next_worker_brings_it_to_its_end(shelf: Shelf, gate: Gate) -> None:
    """The first one is dead, or only frozen: it wakes up when all is over."""
    bench, task_id = shelf.bench, await shelf.accept()
    frozen = await held(await bench.job(), gate)
    await bench.lose(task_id)
    task, (item,) = await bench.done(task_id)
    gate.opened.set()
    await within(frozen)
    assert (task.status, task.error, item.final) == (Status.COMPLETED, "", "to/a.bin")
    shelf.check()


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_a_cancel_loses_nothing(shelf: Shelf, gate: Gate) -> None:
    """And a retry goes on with what there is."""
    bench, task_id = shelf.bench, await shelf.accept()
    running = await held(job := await bench.job(), gate)
    assert await bench.store.tasks.cancel(task_id, []) == "requested"
    job.check_requests()
    gate.opened.set()
    await within(running)
    kept = shelf.origin._space.files.get("a.bin"), shelf.target.get("to/a.bin")
    assert any(each and each[0] == DATA for each in kept)
    assert set(shelf.target) <= {"a.bin", "to/a.bin"}
    task = await bench.task(task_id)
    if task.status is Status.CANCELED:
        assert await bench.store.tasks.retry(task)
        task, _ = await bench.done(task_id)
    assert (task.status, task.error) == (Status.COMPLETED, "")
    shelf.check()


@pytest.mark.parametrize(("way", "step", "when"), BOUNDARIES)
async def test_a_cancel_after_the_worker_died(shelf: Shelf, gate: Gate) -> None:
    """What is cleaned up behind it is never the only copy."""
    bench, task_id = shelf.bench, await shelf.accept()
    dead = await held(await bench.job(), gate)
    assert await bench.store.tasks.cancel(task_id, []) == "requested"
    await bench.store.db.do("ZADD", "sa:leases", "XX", 1, task_id)
    ((_, epoch),) = (await bench.store.claims.reconcile(judge_leases=True)).canceled
    claim = bench.store.claims.take_over(replace(await bench.task(task_id), epoch=epoch), [])
    await claim.finish(Status.CANCELED)
    await remove_leftovers(bench.store, bench.storage, task_id, epoch)
    kept = shelf.origin._space.files.get("a.bin"), shelf.target.get("to/a.bin")
    assert any(each and each[0] == DATA for each in kept)
    dead.cancel()
    await asyncio.wait([dead])
