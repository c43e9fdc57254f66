"""Housekeeping, by some worker every two seconds: nothing stays behind when a worker or a bell is lost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from saveany.logs import get_logger
from saveany.queue import WakeUp
from saveany.store import Claim, Store
from saveany.store.claims import RENEW_MS
from saveany.store.db import TROUBLE
from saveany.store.loops import repeat

_EVERY = 2.0
#: Leases are judged only after Redis has been there for so long: everybody alive has renewed by then.
_SETTLE = RENEW_MS / 1000 + 1.5
#: At most this many bells are rung in one round.
_BELLS = 32
_DAY_MS = 24 * 3600 * 1000

log = get_logger("saveany.reconcile")


class Reconciler:
    """Runs in every worker; a lock lets one of them work in each round."""

    def __init__(
        self, store: Store, end_canceled: Callable[[Claim], Awaitable[None]], *, keep_days: int = 0
    ) -> None:
        self._store = store
        self._bell = WakeUp(store.db)
        self._end_canceled = end_canceled
        self._keep_days = keep_days
        self._steady_since = time.monotonic()

    async def run(self) -> None:
        """For ever."""
        await repeat("reconcile", self._round, _EVERY)

    async def _round(self) -> None:
        try:
            await self.round()
        except TROUBLE:
            self._steady_since = time.monotonic()
            raise

    async def round(self) -> None:
        """One round, if nobody else has done it."""
        if not await self._store.workers.lock("reconcile", round(_EVERY * 1000 * 0.9)):
            return
        found = await self._store.claims.reconcile(judge_leases=await self._settled())
        for task_id, epoch in found.canceled:
            try:
                await self._end(task_id, epoch)
            except TROUBLE:
                raise
            except Exception:  # the others have their turn; this one comes again when its lease ends
                log.exception("a canceled task could not be ended", task=task_id)
        if found.returned:
            log.warning("took tasks back from workers that went silent", tasks=found.returned)
        if found.waiting_users and not await self._bell.unanswered():
            for _ in range(min(_BELLS, found.waiting_users + found.returned + found.woken)):
                await self._bell.ring()
        if self._keep_days:
            await self._store.history.forget(await self._store.db.time_ms() - self._keep_days * _DAY_MS)

    async def _settled(self) -> bool:
        there_for = await self._store.db.uptime_seconds()
        return min(time.monotonic() - self._steady_since, there_for) >= _SETTLE

    async def _end(self, task_id: str, epoch: int) -> None:
        task = await self._store.tasks.get(task_id)
        if task is None or task.epoch != epoch:
            return
        items = await self._store.tasks.all_items(task_id)
        await self._end_canceled(self._store.claims.take_over(task, items))
