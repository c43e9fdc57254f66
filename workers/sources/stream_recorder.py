"""Records the stream of a chat into a folder of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from saveany.errors import NeedsLogin, NoSpace, Permanent, Retryable
from saveany.logs import get_logger
from saveany.models import Stage, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.telegram.livestream import NotLive
from workers.retries import LONG_WAIT
from workers.sources.base import Growth, Tools
from workers.sources.recorded_files import segment_file
from workers.sources.recording import RecordingFolder, Segment

#: Seconds until a stream that could not be read is tried again, if the error does not say.
_AGAIN_SECONDS: Final = 1.0
#: Seconds until a recording of which nothing is here is claimed again, maybe by the worker that has it.
_ELSEWHERE_SECONDS: Final = LONG_WAIT + 1

log = get_logger("saveany.live")


class StreamRecorder:
    """Records streams, each with an account that its user may use."""

    def __init__(self, tools: Tools) -> None:
        self._config = tools.config
        self._accounts = tools.accounts

    def accounts(self) -> list[str]:
        """The user accounts that can record."""
        ready = self._accounts.ready
        return [name for name in ready if not self._accounts.client(name).is_bot]

    async def segments(
        self,
        spec: TaskSpec,
        known: Sequence[str],
        recording: RecordingFolder,
        growth: Growth,
        *,
        stopped: bool,
    ) -> AsyncGenerator[ResolvedFile, None]:
        """The files of the segments that are not `known` by their keys, as they are cut, until the stream has
        ended or the task is stopped."""
        found: asyncio.Queue[Segment | None] = asyncio.Queue()
        for segment in recording.segments:
            if segment.key not in known:  # a worker died before it was recorded
                found.put_nowait(segment)
        last_ms = max((int(key.split("-")[1]) for key in known), default=None)

        async def record() -> None:
            try:
                if not stopped:
                    growth.report(recording.waiting_bytes, None)
                    await self._record(spec, recording, last_ms, found.put_nowait, growth)
                growth.set_stage(Stage.JOINING)
                if segment := await recording.cut():
                    found.put_nowait(segment)
                    growth.report(recording.waiting_bytes, None)
                    growth.set_stage(Stage.JOINING)
            finally:
                found.put_nowait(None)

        number = len(known)
        recorder = asyncio.create_task(record())
        try:
            while cut := await found.get():
                number += 1
                is_only = number == 1 and recorder.done()
                yield segment_file(spec, cut, "" if is_only else f" part {number}")
            await recorder
        finally:
            recorder.cancel()
            await asyncio.gather(recorder, return_exceptions=True)
        if not number and not stopped and growth.before:
            raise Retryable(
                "what has come of this stream is on the disk of another machine, whose worker does not run "
                "or is busy; start it, or cancel the task",
                after=_ELSEWHERE_SECONDS,
            )
        if not number and not stopped:
            raise Permanent("the stream ended before anything of it could be recorded")

    async def _record(
        self,
        spec: TaskSpec,
        recording: RecordingFolder,
        last_ms: int | None,
        on_segment: Callable[[Segment], None],
        growth: Growth,
    ) -> None:
        """Keep the parts of the stream after `last_ms` until it ends."""
        while True:
            after = max(filter(None, (last_ms, recording.last_ms)), default=None)
            try:
                parts = self._accounts.live_parts(
                    self._account(spec), spec.links[0], spec.params.get("call", 0), after
                )
                async with aclosing(parts):
                    async for part in parts:
                        await recording.add(part)
                        growth.report(recording.waiting_bytes, None)
                        if recording.is_full and (segment := await self._cut(spec, recording)):
                            on_segment(segment)
                            growth.report(recording.waiting_bytes, None)
                return
            except NotLive:
                return
            except Retryable as error:
                log.info("recording_interrupted", task=spec.id, reason=error.message)
                await asyncio.sleep(error.after or _AGAIN_SECONDS)
            except (Permanent, NeedsLogin) as error:
                if recording.last_ms is None and last_ms is None:
                    raise
                log.warning("recording_ended_early", task=spec.id, reason=error.message)
                return

    async def _cut(self, spec: TaskSpec, recording: RecordingFolder) -> Segment | None:
        """The next segment; None if it cannot be made now: what streams meanwhile must not be missed."""
        try:
            return await recording.cut()
        except (Permanent, Retryable, NoSpace) as error:
            log.warning("segment_not_cut", task=spec.id, reason=error.message)
            return None

    def _account(self, spec: TaskSpec) -> str:
        """The account that records: the one that saw the stream, or another one that the user may use."""
        user, ready = self._config.user(spec.user_id), self.accounts()
        allowed = [name for name in ready if not (user and user.accounts) or name in user.accounts]
        if not allowed:
            raise Retryable("no Telegram user account is ready")
        preferred = spec.params.get("account", "")
        return preferred if preferred in allowed else allowed[0]
