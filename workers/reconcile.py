"""The safety net of the queue: tasks of dead workers are queued again, and lost wake-ups are sent again."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from saveany.errors import StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store import Claim, Store
from saveany.store.claims import RENEW_MS

#: Seconds between two rounds, over all workers together.
_ROUND_SECONDS = 2.0
#: Leases may expire when Redis has been up for as long as until their renewal, and for these seconds: by then
#: all living workers have renewed theirs.
_SETTLE_SECONDS = 1.5

log = get_logger("saveany.reconcile")


class Reconciler:
    """Runs in every worker; a lock lets one worker do each round."""

    def __init__(self, store: Store, end_canceled: Callable[[Claim], Awaitable[None]]) -> None:
        """`end_canceled` ends a canceled task whose worker died."""
        self._store = store
        self._end_canceled = end_canceled
        self._reachable_since = time.monotonic()

    async def run(self) -> None:
        """Do rounds until canceled."""
        await repeat("reconcile", self._round, _ROUND_SECONDS)

    async def _round(self) -> None:
        try:
            await self.round()
        except StoreUnavailable:
            self._reachable_since = time.monotonic()
            raise

    async def round(self) -> None:
        """Do one round, unless another worker has just done it."""
        if not await self._store.workers.lock("reconcile", round(_ROUND_SECONDS * 1000 * 0.9)):
            return
        found = await self._store.claims.reconcile(check_leases=False)
        if found.lapsed and await self._is_settled():
            found = await self._store.claims.reconcile(check_leases=True)
        await self._end_all(found.canceled)
        if found.returned:
            log.warning(
                "tasks_requeued", tasks=found.returned, reason="their workers stopped renewing leases"
            )

    async def recover_worker(self, worker: str) -> None:
        """Recover the tasks of a worker that is known to be dead, without waiting for their leases."""
        found = await self._store.claims.recover_worker(worker)
        await self._store.workers.leave(worker)
        if found.returned:
            log.warning("tasks_requeued", tasks=found.returned, reason=f"their worker {worker} has died")
        await self._end_all(found.canceled)

    async def _end_all(self, canceled: Sequence[tuple[str, int]]) -> None:
        for task_id, epoch in canceled:
            try:
                await self._end(task_id, epoch)
            except StoreUnavailable:
                raise
            except Exception:  # must not stop the other tasks; this one is found again when its lease ends
                log.exception("cancel_failed", task=task_id)

    async def _is_settled(self) -> bool:
        uptime = await self._store.db.uptime_seconds()
        return min(time.monotonic() - self._reachable_since, uptime) >= RENEW_MS / 1000 + _SETTLE_SECONDS

    async def _end(self, task_id: str, epoch: int) -> None:
        task = await self._store.tasks.get(task_id)
        if task is None or task.epoch != epoch:
            return
        items = await self._store.tasks.all_items(task_id)
        await self._end_canceled(self._store.claims.take_over(task, items))
