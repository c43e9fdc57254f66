"""Publishes the identity, the running tasks and the abilities of a worker."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from saveany.loops import repeat
from saveany.storage_set import StorageSet
from saveany.store import Store, WorkerInfo
from saveany.telegram.accounts import Accounts
from saveany.texts import stored
from workers.runner import TaskRunner
from workers.sources.base import Source

#: Seconds between two heartbeats while nothing changes.
_BEAT_SECONDS = 5.0
#: Seconds between two checks whether something has changed.
_CHECK_SECONDS = 0.2


class Heartbeat:
    """Publishes the state of one worker: at once when it changes, and every few seconds."""

    def __init__(
        self,
        store: Store,
        runner: TaskRunner,
        *,
        storages: StorageSet,
        sources: Mapping[str, Source],
        accounts: Accounts,
        claim_more: Callable[[], None],
    ) -> None:
        """`claim_more` has this worker claim tasks for which it has room."""
        self._store = store
        self._runner = runner
        self._storages = storages
        self._sources = sources
        self._accounts = accounts
        self._claim_more = claim_more
        self._started_at = time.time_ns() // 1_000_000
        self._published: WorkerInfo | None = None
        self._beat_at = 0.0  # monotonic time of the next beat
        self._lanes: set[str] = set()

    async def run(self) -> None:
        """Publish changes until canceled."""
        await repeat("heartbeat", self._round, _CHECK_SECONDS)

    async def _round(self) -> None:
        """Publish the state if it has changed or a beat is due. Also make tasks ready that wait for a storage
        which works here, and claim tasks as soon as this worker can run more lanes: their wake-ups may have
        come before."""
        info, now = self._info(), time.monotonic()
        if info != self._published or now >= self._beat_at:
            await self._store.workers.heartbeat(info)
            await self._store.claims.storages_recovered(self._storages.working)
            await self._store.counters.flush()
            self._published, self._beat_at = info, now + _BEAT_SECONDS
        lanes = set(self._runner.lanes())
        if lanes - self._lanes:
            self._claim_more()
        self._lanes = lanes

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            id=self._runner.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            tasks=self._runner.running,
            slots=self._runner.slots.count,
            slots_in_use=len(self._runner.slots.holders),
            storages={name: stored(handle.problem) for name, handle in self._storages.items()},
            capabilities={
                name: asdict(handle.storage.capabilities) for name, handle in self._storages.items()
            },
            sources={name: stored(source.problem) for name, source in self._sources.items()},
            accounts={**dict.fromkeys(self._accounts.ready, ""), **self._accounts.problems},
        )
