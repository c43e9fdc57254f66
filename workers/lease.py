"""Keeping a claim alive while its work is done, and stopping the work when it must not go on."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from saveany.errors import CancelRequested, Fenced, PauseRequested
from saveany.models import Progress, Stage
from saveany.store import Claim
from saveany.store.claims import RENEW_MS
from saveany.store.loops import repeat
from workers.progress import ProgressMeter

#: Progress is published at most this often; the API promises two events a second at most.
_PUBLISH_SECONDS = 0.5


class LeaseRenewer:
    """`async with Keeper(claim, meter):` renews the lease and publishes progress while the body runs.

    If the claim is lost or the task is canceled or paused, the body is cancelled, and `Fenced`,
    `CancelRequested` or `PauseRequested` comes out of the `async with` in place of the `CancelledError`. An
    outage of Redis stops nothing: the claim holds as long as nobody else has taken the task.
    """

    def __init__(self, claim: Claim, meter: ProgressMeter) -> None:
        self._claim = claim
        self._meter = meter
        self._reason: Fenced | CancelRequested | PauseRequested | None = None
        self._look_now = asyncio.Event()

    def look(self) -> None:
        """Ask the store at once whether the task was canceled or paused."""
        self._look_now.set()

    async def __aenter__(self) -> LeaseRenewer:
        self._body = asyncio.current_task()
        self._task = asyncio.create_task(self._keep(), name=f"keep {self._claim.task.id}")
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
        # Asked only when a cancel came out: up to Python 3.12 a TaskGroup that failed leaves one counted.
        if isinstance(error, asyncio.CancelledError) and self._body.cancelling():
            return  # somebody else wants the body to stop, too: that goes first
        if isinstance(error, asyncio.CancelledError | None):
            raise self._reason from None

    async def _keep(self) -> None:
        """Whatever nobody foresaw, the claim is kept: else another worker would take the task, too."""
        await repeat("keep", self._until_stopped, _PUBLISH_SECONDS)

    async def _until_stopped(self) -> None:
        try:
            await self._renew_and_publish()
        except (Fenced, CancelRequested, PauseRequested) as e:
            self._reason = e
            if self._body is not None:
                self._body.cancel()
            await asyncio.Event().wait()  # there is nothing to keep any more

    async def _renew_and_publish(self) -> None:
        clock = asyncio.get_running_loop().time
        renew_at = clock() + RENEW_MS / 1000
        shown: tuple[Stage, Progress] | None = None
        while True:
            asked = await self._pause()
            now = self._meter.stage, self._meter.progress()
            if now != shown:
                await self._claim.progress(*now)
                shown = now
            if asked or clock() >= renew_at:
                await self._claim.renew()
                renew_at = clock() + RENEW_MS / 1000

    async def _pause(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._look_now.wait(), _PUBLISH_SECONDS)
        asked = self._look_now.is_set()
        self._look_now.clear()
        return asked
