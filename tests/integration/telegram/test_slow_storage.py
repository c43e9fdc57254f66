"""A storage that has become very slow: what is received for it is limited, and other tasks go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.config import Config
from saveany.models import Status
from saveany.sandbox import Sandbox
from saveany.sandbox.content import MIB, ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages.base import Range, Upload, UploadKey
from storages.chunks import Chunks
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.local.upload import LocalUpload
from storages.memory import MemoryOptions, MemoryStorage
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start
from tests.integration.worker.conftest import JobHarness, within
from workers.sources.telegram import TelegramSource

#: Files of 1 MiB that a worker holds in memory.
_IN_FLIGHT = 24


class Slowness:
    """Takes one file after the other, each when the test lets it."""

    def __init__(self) -> None:
        self.begun = 0
        self._may_take = asyncio.Semaphore(0)

    async def wait(self) -> None:
        self.begun += 1
        await self._may_take.acquire()

    def take(self, files: int) -> None:
        for _ in range(files):
            self._may_take.release()


class SlowServer(MemoryStorage):
    """A storage that needs parts in order."""

    def __init__(self, folder: Path, slowness: Slowness) -> None:
        super().__init__(MemoryOptions(name="slow", type="memory", space=str(folder)))
        self._slowness = slowness

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        await self._slowness.wait()
        await super()._put(path, chunks, size, offset)

    def saved(self) -> dict[str, bytes]:
        return {path: bytes(data) for path, (data, _) in self._space.files.items()}


class SlowUpload(LocalUpload):
    slowness: Slowness

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        await self.slowness.wait()
        await super().write(offset, data)


class SlowDisk(LocalStorage):
    """A storage that takes parts in any order."""

    def __init__(self, folder: Path, slowness: Slowness) -> None:
        super().__init__(LocalOptions(name="slow", type="local", base_path=folder))
        self._folder, self._slowness = folder, slowness

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        upload = await super().begin(key, path, size, keep)
        upload.__class__ = type("", (SlowUpload,), {"slowness": self._slowness})
        return upload

    def saved(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self._folder.iterdir() if path.suffix == ".bin"}


def post(sandbox: Sandbox, username: str, sizes: Sequence[int]) -> list[StoredFile]:
    """New files in the messages 2, 3 … of a new chat."""
    chat = sandbox.world.add_chat(Chat(id=sandbox.world.new_id(), title=username, username=username))
    files = []
    for number, size in enumerate(sizes, 2):
        id_ = sandbox.world.new_id()
        files.append(
            StoredFile(id=id_, content=ContentStream(id_, size), name=f"{number}.bin", dc=sandbox.dc_id)
        )
        sandbox.world.add_file(files[-1])
        sandbox.world.post(chat, StoredMessage(id=number, file=files[-1]))
    return files


@pytest.mark.parametrize(
    ("kind", "others"),
    [(SlowServer, {"small": [99_999] * 100, "large": [20 * MIB]}), (SlowDisk, {"small": [99_999] * 100})],
)
async def test_the_memory_for_a_slow_storage_is_limited_and_other_tasks_go_on(
    sandbox: Sandbox,
    start: Start,
    store: Store,
    tmp_path: Path,
    kind: Callable[[Path, Slowness], SlowServer | SlowDisk],
    others: dict[str, list[int]],
) -> None:
    """The other tasks end before the slow storage has taken a single file."""
    harness = JobHarness(store, tmp_path / "files")
    tools = SimpleNamespace(config=Config(), accounts=await start(bot=True), on_wait=lambda seconds: None)
    harness.source = cast(Any, TelegramSource(cast(Any, tools)))
    slow = kind(tmp_path / "slow", slowness := Slowness())
    harness.others["slow"] = StorageHandle(store, slow)
    many = post(sandbox, "many", [MIB] * 150)
    slow_task = await harness.accept(links=(f"https://t.me/many/2-{len(many) + 1}",), storage="slow")
    claim = await store.claims.claim("w", ["tgfiles/slow"])
    assert claim is not None
    saving = asyncio.create_task(harness.job_of(claim).run())
    await until(lambda: slowness.begun == _IN_FLIGHT)
    for name, sizes in others.items():
        post(sandbox, name, sizes)
        task_id = await harness.accept(links=(f"https://t.me/{name}/2-{len(sizes) + 1}",), path=name)
        await within((await harness.job()).run(), 60)
        assert (await harness.task(task_id)).status is Status.COMPLETED
    served = sandbox.counters.bytes_by("file")
    assert sum(served.get(file.id, 0) for file in many) == _IN_FLIGHT * MIB
    assert slowness.begun == _IN_FLIGHT
    slowness.take(len(many))
    await within(saving, 60)
    assert (await harness.task(slow_task)).status is Status.COMPLETED
    assert slow.saved() == {file.name: file.content.read(0, MIB) for file in many}
