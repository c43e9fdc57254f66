"""Jobs in this process, with a real Valkey, a real folder, and a source that a test can stop at each step."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from saveany.ids import new_id
from saveany.models import Item, Task, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.storage_set import StorageHandle
from saveany.store import Claim, Store
from saveany.webhooks.builder import DeliveryBuilder
from storages.base import Range
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from workers.jobs import Job
from workers.slots import TaskSlot
from workers.sources.base import Source, Write
from workers.transfer_budget import TransferBudget

LANE = "tgfiles/local1"
PART = 1 << 16


def content(name: str, size: int = 3 * PART + 7) -> bytes:
    """Different bytes for each name."""
    return hashlib.sha256(name.encode()).digest() * (size // 32) + bytes(size % 32)


@dataclass
class FilesSource(Source):
    """Files by name; `step` runs before each part is written, and may wait or raise."""

    files: dict[str, bytes]
    step: Callable[[str, int], Awaitable[None]] | None = None
    resolved: int = 0
    concurrent: bool = False  # whether its files are saved at the same time
    fetched: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # how jobs have left it

    @property
    def is_concurrent(self) -> bool:
        return self.concurrent

    async def stop(self, task_id: str) -> None:
        self.left.append("stopped")

    async def forget(self, task_id: str) -> None:
        self.left.append("forgotten")

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        self.resolved += 1
        return [ResolvedFile(name, len(data), {"name": name}) for name, data in self.files.items()]

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        name = item.source["name"]
        self.fetched.append(name)
        for offset in range(0, len(self.files[name]), PART):
            end = min(offset + PART, len(self.files[name]))
            if any(first <= offset and end <= last for first, last in have):
                continue
            if self.step:
                await self.step(name, offset)
            await write(offset, self.files[name][offset:end])


class JobHarness:
    """Everything a job needs, with shorter forms of the operations of its tests."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.storage = LocalStorage(LocalOptions(name="local1", type="local", base_path=folder))
        self.scratch = folder.parent / "scratch"
        self.handle = StorageHandle(store, self.storage)
        self.others: dict[str, StorageHandle] = {}
        self.budget = TransferBudget()
        self.source = FilesSource({"a.bin": content("a.bin")})
        self.announce = DeliveryBuilder(
            "http://127.0.0.1:9/hook", ["completed", "failed", "canceled"], store.claims.time_ms
        )

    async def accept(self, **changes: Any) -> str:
        fields = {
            "id": new_id(),
            "type": "tgfiles",
            "links": ("https://t.me/channel/123",),
            "user_id": 1,
            "storage": "local1",
            **changes,
        }
        spec = TaskSpec(**fields)
        assert await self.store.tasks.accept(spec, "title")
        return spec.id

    async def claim(self) -> Claim:
        claim = await self.store.claims.claim("w", [LANE])
        assert claim is not None
        return claim

    async def job(self) -> Job:
        """A job for the next ready task."""
        return self.job_of(await self.claim())

    def job_of(self, claim: Claim, slot: TaskSlot | None = None) -> Job:
        return Job(
            claim,
            source=self.source,
            storages={**self.others, self.storage.name: self.handle},
            build_deliveries=self.announce,
            attempts=3,
            scratch=self.scratch,
            budget=self.budget,
            slot=slot,
        )

    async def expire_lease(self, task_id: str) -> None:
        """Let the lease of a task expire, so that it is queued again."""
        await self.store.db.do("ZADD", "sa:leases", "XX", 1, task_id)
        assert (await self.store.claims.reconcile(check_leases=True)).returned == 1

    async def task(self, task_id: str) -> Task:
        task = await self.store.tasks.get(task_id)
        assert task is not None
        return task

    async def delivered_events(self, task_id: str) -> list[str]:
        return [each.event for each in await self.store.outbox.of_task(task_id)]

    def files(self) -> dict[str, bytes]:
        """Every file in the storage, including parts."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
async def harness(store: Store, tmp_path: Path) -> JobHarness:
    return JobHarness(store, tmp_path / "files")


async def within(work: Awaitable[Any], seconds: float = 20) -> Any:
    return await asyncio.wait_for(work, seconds)
