"""Storages, and jobs that transfer files between them, for the tests of moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from saveany.config import Config
from saveany.models import Item, Task
from saveany.net.guard import AddressGuard
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages.base import Storage, UploadKey
from storages.memory import MemoryOptions, MemoryStorage
from tests.integration.worker import conftest as worker
from tests.integration.worker.conftest import content, within
from workers.sources.base import Tools
from workers.sources.transfer import TransferSource


class TransferHarness(worker.JobHarness):
    """Jobs that read files from storages and save them in `storage`, which is called `here`."""

    source_type = TransferSource

    def __init__(self, store: Store, folder: Path, *storages: Storage) -> None:
        super().__init__(store, folder)
        self.storages = {storage.name: storage for storage in storages}
        self.storage = cast(Any, self.storages["here"])
        self.handle = StorageHandle(store, self.storage)
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
        self.source = cast(Any, self.source_type(tools))

    async def transfer(self, path: str, **changes: Any) -> str:
        """Add a task that reads that path from `changes["source_storage"]`, or from `here`."""
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


DATA = content("a.bin", 6 << 20)
