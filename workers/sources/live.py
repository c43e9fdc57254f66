"""Live: the stream of a channel or group is recorded in segments, which are joined when it has ended.

The recorder keeps each part on this machine's disk as soon as it is there. A segment becomes a file of the
task when it is complete, so it can be seen while the stream goes on. What another worker finds on the disk
after a crash it continues; parts that have not arrived meanwhile are fetched as long as Telegram has them.

A call of people is recorded by Telegram for its administrators: see `call_recording`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from saveany.errors import NeedsLogin, NoSpace, Permanent, Retryable, StorageError
from saveany.logs import get_logger
from saveany.models import Item, ItemStatus, Stage, TaskSpec
from saveany.planning.facts import Facts
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import is_installed
from saveany.telegram.livestream import NotLive
from saveany.texts import Text
from storages.base import Range
from workers.retries import LONG_WAIT
from workers.sources import disk
from workers.sources.base import Growth, Report, Source, Tools, Write
from workers.sources.call_recording import CallRecordings, is_of_call
from workers.sources.joining import NotInstalled, missing
from workers.sources.process import remove_folder
from workers.sources.recording import RecordingFolder, Segment, room_needed

#: Seconds until a stream that could not be read is tried again, if the error does not say.
_AGAIN_SECONDS: Final = 1.0
#: Seconds until a recording for which this machine's disk has no room is claimed again.
_NO_ROOM_SECONDS: Final = LONG_WAIT + 1
#: Seconds until a recording of which nothing is here is claimed again, maybe by the worker that has it.
_ELSEWHERE_SECONDS: Final = LONG_WAIT + 1
#: Keys in `Item.source`: of a segment; of all segments in one file; of the list of segments.
_SEGMENT, _JOINED, _PLAYLIST = "segment", "joined", "playlist"

log = get_logger("saveany.live")


class LiveSource(Source):
    """`live`: the segments of a recording, and in the end one file in their place."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._accounts = tools.accounts
        self._calls = CallRecordings(tools)
        self._program = tools.config.convert.ffmpeg
        self._scratch = tools.scratch.absolute()  # ffmpeg runs in another working directory

    @property
    def problem(self) -> Text | None:
        """Why this worker cannot record, None if it can."""
        if self._users():
            return None
        problems = self._accounts.problems.values()
        return min(problems, key=str, default=Text("no Telegram user account is configured"))

    @property
    def drawback(self) -> Text | None:
        """Without ffmpeg a stream is recorded, but nothing of it can be saved."""
        return None if is_installed(self._program) else self._kept(missing(self._program))

    def _kept(self, reason: Text) -> Text:
        return Text("{reason}; what comes of a stream is kept on its disk until then", {"reason": reason})

    @property
    def is_local(self) -> bool:
        """`fetch` only copies."""
        return True

    @property
    def grows(self) -> bool:
        """True: each segment is a file."""
        return True

    def _users(self) -> list[str]:
        accounts = self._accounts
        return [name for name in accounts.ready if not accounts.client(name).is_bot]

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
            async with aclosing(self._segments(spec, items, recording, stopped, growth)) as segments:
                async for segment in segments:
                    has_more = True
                    yield segment
            await recording.end()
            if has_more:
                return
        if await self._lacks_segments(items, recording):
            return
        saved = [item for item in items if _SEGMENT in item.source and item.status.done]
        joined = next((item for item in items if _JOINED in item.source), None)
        if len(saved) < 2 or any(_PLAYLIST in item.source for item in items):
            return
        if joined is None:
            growth.set_stage(Stage.JOINING)
            try:
                yield await self._joined(spec, saved, recording)
                return
            except (Permanent, Retryable, NoSpace, StorageError) as error:
                log.warning("recording_not_joined", task=spec.id, reason=error.message)
        elif joined.status is not ItemStatus.FAILED:
            return
        yield await self._playlist(spec, saved, recording)

    async def _lacks_segments(self, items: Sequence[Item], recording: RecordingFolder) -> bool:
        """Whether a segment is still being saved, or has failed and can be saved by a retry."""
        for item in items:
            if _SEGMENT not in item.source or item.status.done:
                continue
            place = recording.place(item.source[_SEGMENT])
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

    # Recording.

    async def _segments(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        recording: RecordingFolder,
        stopped: bool,
        growth: Growth,
    ) -> AsyncGenerator[ResolvedFile, None]:
        """The segments, as they are cut, until the stream has ended or the task is stopped."""
        known = [item.source[_SEGMENT] for item in items if _SEGMENT in item.source]
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
                yield self._file(spec, cut, "" if is_only else f" part {number}")
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
        user, ready = self._tools.config.user(spec.user_id), self._users()
        allowed = [name for name in ready if not (user and user.accounts) or name in user.accounts]
        if not allowed:
            raise Retryable("no Telegram user account is ready")
        preferred = spec.params.get("account", "")
        return preferred if preferred in allowed else allowed[0]

    # Files.

    def _file(self, spec: TaskSpec, segment: Segment, suffix: str) -> ResolvedFile:
        source = {_SEGMENT: segment.key, "seconds": segment.seconds, "mime": "video/mp4"}
        return _resolved(spec, f"{suffix}.mp4", segment.file, source)

    async def _joined(
        self, spec: TaskSpec, saved: Sequence[Item], recording: RecordingFolder
    ) -> ResolvedFile:
        for item in saved:
            place = recording.place(item.source[_SEGMENT])
            if not await asyncio.to_thread(place.exists):
                await self._read_back(spec, item, place)
        if not await recording.has_room_for_all():
            raise NoSpace("this machine's disk has no room for one file with all segments")
        file = await recording.join([item.source[_SEGMENT] for item in saved])
        source = {_JOINED: True, "seconds": sum(item.source["seconds"] for item in saved)}
        return _resolved(spec, ".mp4", file, source | {"mime": "video/mp4"})

    async def _read_back(self, spec: TaskSpec, item: Item, place: Path) -> None:
        """Copy a segment here that another worker has recorded."""
        storage = self._tools.storage(item.storage or spec.storage)
        if not storage.capabilities.reads:
            raise Permanent("storage {storage!r} cannot read its files", storage=storage.name)
        unfinished = place.with_suffix(".unfinished")
        async with await storage.open(item.final) as reader:
            with room_needed(), unfinished.open("wb") as file:
                async with aclosing(reader.read()) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(unfinished.rename, place)

    async def _playlist(
        self, spec: TaskSpec, saved: Sequence[Item], recording: RecordingFolder
    ) -> ResolvedFile:
        entries = [((item.final or item.path).rpartition("/")[2], item.source["seconds"]) for item in saved]
        file = await recording.write_playlist(entries)
        return _resolved(spec, ".m3u8", file, {_PLAYLIST: True, "mime": "application/vnd.apple.mpegurl"})

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
        if not any(_JOINED in item.source and item.status is ItemStatus.COMPLETED for item in items):
            return []
        saved = (item for item in items if item.status is ItemStatus.COMPLETED)
        return [item for item in saved if _SEGMENT in item.source]

    def is_optional(self, item: Item) -> bool:
        """Whether the recording is complete without this file."""
        return _JOINED in item.source or _PLAYLIST in item.source

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


def _resolved(spec: TaskSpec, suffix: str, file: Path, source: dict[str, Any]) -> ResolvedFile:
    """A file of a recording, named after the chat and the time at which the stream began."""
    params = spec.params
    started = int(params.get("started", 0))
    began = datetime.fromtimestamp(started / 1000, UTC)
    title = params.get("title") or spec.links[0]
    name = f"{safe_name(title)[:100]} {began:%Y-%m-%d %H-%M-%S}{suffix}"
    chat = spec.links[0]
    facts = Facts(
        kind="video",
        text=title,
        chat=chat.removeprefix("@") if chat.startswith("@") else "",
        chat_id=int(params.get("chat_id", 0)),
        date_ms=started,
    )
    return ResolvedFile(safe_name(name), file.stat().st_size, source | {"file": str(file)}, facts=facts)
