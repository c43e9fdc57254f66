"""Publishes the identity, the running tasks and the abilities of a worker."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache

from saveany.loops import Signal, repeat, to_full_second
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Store, WorkerInfo
from saveany.telegram.accounts import Accounts
from saveany.texts import stored
from storages.base import Capabilities
from workers.inboxes import InboxWatcher
from workers.runner import TaskRunner
from workers.sources.base import Source

#: Seconds between two heartbeats while nothing changes, and minimum pause after one.
_BEAT_SECONDS, _PAUSE_SECONDS = 5.0, 0.2


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
        inboxes: InboxWatcher,
        changed: Signal,
        on_lanes: Callable[[], None],
    ) -> None:
        """`changed` is sent when running tasks, storages or accounts have changed. `on_lanes` is called when
        the lanes that this worker can run have changed."""
        self._store = store
        self._runner = runner
        self._storages = storages
        self._sources = sources
        self._accounts = accounts
        self._inboxes = inboxes
        self._changed = changed
        self._on_lanes = on_lanes
        self._started_at = time.time_ns() // 1_000_000
        self._published: WorkerInfo | None = None
        self._beat_at = 0.0  # monotonic time of the next beat
        self._lanes: list[str] = []

    async def run(self) -> None:
        """Publish changes until canceled."""
        await repeat("heartbeat", self._round)

    async def _round(self) -> None:
        """Publish the state if it has changed or a beat is due, then wait for the next one. Also make tasks
        ready that wait for a storage which works here, and report changes of the lanes: wake-ups of new ones
        may have come before."""
        seen = self._changed.count
        info, now = self._info(), time.monotonic()
        if info != self._published or now >= self._beat_at:
            await self._store.workers.heartbeat(info)
            self._runner.only_here = await self._only_here()
            await self._store.claims.storages_recovered(self._storages.working)
            await self._store.counters.flush()
            self._published, self._beat_at = info, now + to_full_second(_BEAT_SECONDS)
        if (lanes := self._runner.lanes()) != self._lanes:
            self._lanes = lanes
            self._on_lanes()
        await self._changed.wait(max(0.0, self._beat_at - time.monotonic()), since=seen)
        if self._changed.count != seen:
            await asyncio.sleep(_PAUSE_SECONDS)  # changes that follow are published together

    async def _only_here(self) -> frozenset[str]:
        """The types of tasks that lack something here and that no other worker can run."""
        lacking = [kind for kind, source in self._sources.items() if source.drawback]
        workers = await self._store.workers.living() if lacking else []
        able = {kind for worker in workers for kind, problem in worker.sources.items() if not problem}
        return frozenset(lacking) - able

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            id=self._runner.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            machine=self._runner.machine,
            tasks=self._runner.running,
            slots=self._runner.slots.count,
            slots_in_use=len(self._runner.slots.holders),
            live_slots=self._runner.live_slots.count,
            live_slots_in_use=len(self._runner.live_slots.holders),
            storages={name: stored(handle.problem) for name, handle in self._storages.items()},
            capabilities={name: _abilities(handle) for name, handle in self._storages.items()},
            sources={name: stored(each.problem or each.drawback) for name, each in self._sources.items()},
            accounts={**dict.fromkeys(self._accounts.ready, ""), **self._accounts.problems},
            inboxes=self._inboxes.states,
        )


def _abilities(handle: StorageHandle) -> dict[str, bool]:
    return _as_dict(handle.storage.capabilities)


@cache
def _as_dict(capabilities: Capabilities) -> dict[str, bool]:
    return asdict(capabilities)
