"""Publishes the identity, the running tasks and the abilities of a worker."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from saveany.loops import Signal, repeat
from saveany.storage_set import StorageSet
from saveany.store import Store, WorkerInfo
from saveany.telegram.accounts import Accounts
from saveany.texts import stored
from workers.runner import TaskRunner
from workers.sources.base import Source

#: Seconds between two heartbeats while nothing changes.
_BEAT_SECONDS = 5.0
#: Seconds between two checks for changes that are not signaled, and minimum pause after a check.
_CHECK_SECONDS, _PAUSE_SECONDS = 1.0, 0.2


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
        changed: Signal,
        on_lanes: Callable[[], None],
    ) -> None:
        """`changed` is sent when running tasks or the storages have changed. `on_lanes` is called when the
        lanes that this worker can run have changed."""
        self._store = store
        self._runner = runner
        self._storages = storages
        self._sources = sources
        self._accounts = accounts
        self._changed = changed
        self._on_lanes = on_lanes
        self._capabilities = {name: asdict(handle.storage.capabilities) for name, handle in storages.items()}
        self._started_at = time.time_ns() // 1_000_000
        self._published: WorkerInfo | None = None
        self._beat_at = 0.0  # monotonic time of the next beat
        self._lanes: list[str] = []

    async def run(self) -> None:
        """Publish changes until canceled."""
        await repeat("heartbeat", self._round, _PAUSE_SECONDS)

    async def _round(self) -> None:
        """Publish the state if it has changed or a beat is due, then wait for the next change. Also make
        tasks ready that wait for a storage which works here, and report changes of the lanes: wake-ups of new
        ones may have come before."""
        seen = self._changed.count
        info, now = self._info(), time.monotonic()
        if info != self._published or now >= self._beat_at:
            await self._store.workers.heartbeat(info)
            await self._store.claims.storages_recovered(self._storages.working)
            await self._store.counters.flush()
            self._published, self._beat_at = info, now + _BEAT_SECONDS
        if (lanes := self._runner.lanes()) != self._lanes:
            self._lanes = lanes
            self._on_lanes()
        await self._changed.wait(_CHECK_SECONDS, since=seen)

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
            capabilities=self._capabilities,
            sources={name: stored(source.problem) for name, source in self._sources.items()},
            accounts={**dict.fromkeys(self._accounts.ready, ""), **self._accounts.problems},
        )
