"""Live: the stream of a channel or group is recorded in segments, which are joined when it has ended.

The recorder keeps each part on this machine's disk as soon as it is there. A segment becomes a file of the
task when it is complete, so it can be seen while the stream goes on. What another worker finds on the disk
after a crash it continues; parts that have not arrived meanwhile are fetched as long as Telegram has them.

A call of people is recorded by Telegram for its administrators: see `call_recording`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from saveany.errors import NoSpace, Permanent, Retryable, StorageError
from saveany.logs import get_logger
from saveany.models import Item, ItemStatus, Stage, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.programs import is_installed
from saveany.texts import Text
from storages.base import Range
from workers.retries import LONG_WAIT
from workers.sources import disk
from workers.sources.base import Growth, Report, Source, Tools, Write
from workers.sources.call_recording import CallRecordings, is_of_call
from workers.sources.joining import NotInstalled, missing
from workers.sources.process import remove_folder
from workers.sources.recorded_files import JOINED, PLAYLIST, SEGMENT, joined_file, playlist_file
from workers.sources.recording import RecordingFolder
from workers.sources.stream_recorder import StreamRecorder

#: Seconds until a recording for which this machine's disk has no room is claimed again.
_NO_ROOM_SECONDS: Final = LONG_WAIT + 1

log = get_logger("saveany.live")


class LiveSource(Source):
    """`live`: the segments of a recording, and in the end one file in their place."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._accounts = tools.accounts
        self._recorder = StreamRecorder(tools)
        self._calls = CallRecordings(tools)
        self._program = tools.config.convert.ffmpeg
        self._scratch = tools.scratch.absolute()  # ffmpeg runs in another working directory

    @property
    def problem(self) -> Text | None:
        """Why this worker cannot record, None if it can."""
        if self._recorder.accounts():
            return None
        problems = self._accounts.problems.values()
        return min(problems, key=str, default=Text("no Telegram user account is configured"))

    @property
    def drawback(self) -> Text | None:
        """Without ffmpeg a stream is recorded, but nothing of it can be saved."""
        return None if is_installed(self._program) else self._kept(missing(self._program))

    def _kept(self, reason: Text) -> Text:
        return Text("{reason}; what comes of a stream is kept on its disk until then", {"reason": reason})

    def is_local(self, item: Item) -> bool:
        """True, except for what Telegram has recorded."""
        return "file" in item.source

    @property
    def grows(self) -> bool:
        """True: each segment is a file."""
        return True

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """No files: they come later."""
        return []

    async def more(
        self, spec: TaskSpec, items: Sequence[Item], *, stopped: bool, growth: Growth
    ) -> AsyncGenerator[ResolvedFile, None]:
        """The segments, as they are cut; when all of them are saved, one file with all of them. If there can
        be none, a playlist. While this machine's disk is full, or ffmpeg is missing, the task waits, with
        all that has come."""
        if is_of_call(spec):
            async with aclosing(self._calls.files(spec, items, stopped=stopped)) as files:
                async for file in files:
                    yield file
            return
        try:
            async with aclosing(self._more(spec, items, stopped, growth)) as more:
                async for file in more:
                    yield file
        except NoSpace as error:
            raise Retryable(error.text, after=_NO_ROOM_SECONDS) from error
        except NotInstalled as error:
            raise Retryable(self._kept(error.text), after=error.after) from error

    async def _more(
        self, spec: TaskSpec, items: Sequence[Item], stopped: bool, growth: Growth
    ) -> AsyncGenerator[ResolvedFile, None]:
        recording = self._recording(spec.id)
        await recording.open()
        if not recording.has_ended:
            has_more = False
            known = [item.source[SEGMENT] for item in items if SEGMENT in item.source]
            files = self._recorder.segments(spec, known, recording, growth, stopped=stopped)
            async with aclosing(files) as segments:
                async for segment in segments:
                    has_more = True
                    yield segment
            await recording.end()
            if has_more:
                return
        if await self._lacks_segments(items, recording):
            return
        saved = [item for item in items if SEGMENT in item.source and item.status.done]
        joined = next((item for item in items if JOINED in item.source), None)
        if len(saved) < 2 or any(PLAYLIST in item.source for item in items):
            return
        if joined is None:
            growth.set_stage(Stage.JOINING)
            try:
                yield await joined_file(self._tools, spec, saved, recording)
                return
            except (Permanent, Retryable, NoSpace, StorageError) as error:
                log.warning("recording_not_joined", task=spec.id, reason=error.message)
        elif joined.status is not ItemStatus.FAILED:
            return
        yield await playlist_file(spec, saved, recording)

    async def _lacks_segments(self, items: Sequence[Item], recording: RecordingFolder) -> bool:
        """Whether a segment is still being saved, or has failed and can be saved by a retry."""
        for item in items:
            if SEGMENT not in item.source or item.status.done:
                continue
            place = recording.place(item.source[SEGMENT])
            if item.status is not ItemStatus.FAILED or await asyncio.to_thread(place.exists):
                return True
        return False

    def _recording(self, task_id: str) -> RecordingFolder:
        settings = self._tools.config.live
        return RecordingFolder(
            self._scratch / task_id,
            program=self._program,
            guard=self._tools.guard,
            max_parts=settings.segment_seconds,
            max_bytes=settings.segment_mb << 20,
        )

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item, if its file is still on this machine's disk."""
        if is_of_call(spec):
            return item
        file = Path(item.source["file"])
        if not await asyncio.to_thread(file.exists):
            raise Permanent("this part of the recording was lost with the worker that had it on its disk")
        report(item.size or 0, item.size)
        return item

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Copy the file into the storage, or download what Telegram has recorded."""
        if "file" not in item.source:
            await self._calls.fetch(item, write, have)
            return
        await disk.copy(Path(item.source["file"]), item.size or 0, write, have)

    def replaced(self, items: Sequence[Item]) -> list[Item]:
        """The segments, once the file with all of them is saved."""
        if not any(JOINED in item.source and item.status is ItemStatus.COMPLETED for item in items):
            return []
        saved = (item for item in items if item.status is ItemStatus.COMPLETED)
        return [item for item in saved if SEGMENT in item.source]

    def is_optional(self, item: Item) -> bool:
        """Whether the recording is complete without this file."""
        return JOINED in item.source or PLAYLIST in item.source

    def message(self, item: Item) -> Mapping[str, Any] | None:
        """The message with what Telegram has recorded."""
        return None if "file" in item.source else item.source

    async def stop(self, task_id: str) -> None:
        """Keep the recording. If the stream goes on when the task continues, so does the recording."""
        self._calls.leave(task_id)
        await self._recording(task_id).reopen()

    async def forget(self, task_id: str) -> None:
        """Remove the recording from this machine's disk; one by Telegram ends."""
        await self._calls.forget(task_id)
        await remove_folder(self._scratch / task_id)

    async def kept_tasks(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)
