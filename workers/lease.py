"""Renewing the lease of a claim while its work is done, and stopping the work when it must not continue."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from saveany.errors import CancelRequested, Fenced, PauseRequested, StopRequested
from saveany.loops import repeat
from saveany.models import Progress, Stage
from saveany.store import Claim
from saveany.store.claims import RENEW_MS
from workers.progress import ProgressMeter

#: Seconds between two publications of the progress; the API promises at most two events a second.
_PUBLISH_SECONDS = 0.5


class LeaseRenewer:
    """`async with LeaseRenewer(claim, meter):` renews the lease and publishes progress while the body runs.

    If the claim is lost or the task is canceled, stopped or paused, the body is canceled, and the
    `async with` raises `Fenced`, `CancelRequested`, `StopRequested` or `PauseRequested` in place of the
    `CancelledError`. An outage of Redis stops nothing: the claim is valid as long as no other worker has
    taken the task.
    """

    def __init__(self, claim: Claim, meter: ProgressMeter) -> None:
        self._claim = claim
        self._meter = meter
        self._reason: Fenced | CancelRequested | StopRequested | PauseRequested | None = None
        self._check = asyncio.Event()

    def check_now(self) -> None:
        """Check now whether the task was canceled, stopped or paused."""
        self._check.set()

    async def __aenter__(self) -> LeaseRenewer:
        self._body = asyncio.current_task()
        self._task = asyncio.create_task(self._renew_forever(), name=f"lease {self._claim.task.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._body is None or self._reason is None:
            return
        self._body.uncancel()
        # `cancelling` counts only together with a CancelledError: up to Python 3.12 a TaskGroup that failed
        # leaves it at 1.
        if isinstance(error, asyncio.CancelledError) and self._body.cancelling():
            return  # another caller has canceled the body too, and that takes precedence
        if isinstance(error, asyncio.CancelledError | None):
            raise self._reason from None

    async def _renew_forever(self) -> None:
        """Renew whatever errors occur: without a lease another worker would take the task, too."""
        await repeat("lease", self._renew_until_stopped, _PUBLISH_SECONDS)

    async def _renew_until_stopped(self) -> None:
        try:
            await self._renew_and_publish()
        except (Fenced, CancelRequested, StopRequested, PauseRequested) as e:
            self._reason = e
            if self._body is not None:
                self._body.cancel()
            await asyncio.Event().wait()  # nothing is left to renew

    async def _renew_and_publish(self) -> None:
        clock = asyncio.get_running_loop().time
        renew_at = clock() + RENEW_MS / 1000
        published: tuple[Stage, Progress] | None = None
        while True:
            requested = await self._pause()
            current = self._meter.stage, self._meter.progress()
            if current != published:
                await self._claim.progress(*current)
                published = current
            if requested or clock() >= renew_at:
                await self._claim.renew()
                renew_at = clock() + RENEW_MS / 1000

    async def _pause(self) -> bool:
        """Wait until it is time to publish, or until `check_now` is called; returns whether it was called."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._check.wait(), _PUBLISH_SECONDS)
        requested = self._check.is_set()
        self._check.clear()
        return requested
