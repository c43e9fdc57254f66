"""Calls of people: Telegram records them for an administrator, and sends the files to the Saved Messages of
the account when the recording ends (https://core.telegram.org/api/group-calls#video-chats-livestreams).

All that has to be known after a crash is in the task: the call, the name of the recording, and the newest
message that was in Saved Messages before it. Files are found by that name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from saveany.errors import Permanent, Retryable, SaveAnyError
from saveany.logs import get_logger
from saveany.models import Item, TaskSpec
from saveany.planning.messages import Albums
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.telegram.call_recording import CallRecorder
from saveany.telegram.history import ReadMessage
from saveany.telegram.livestream import LiveCall, NotLive
from storages.base import Range
from workers.sources.base import Tools, Write
from workers.sources.telegram import TelegramSource

#: Seconds between two looks at a call, and at Saved Messages.
_CALL_SECONDS, _FILE_SECONDS = 5.0, 2.0
#: Seconds after the end of a recording until its first file must have arrived, and after each until the next.
_FIRST_SECONDS, _NEXT_SECONDS = 1800.0, 6.0
#: Maximum length of the name of a recording (Telegram's apps), and of the time in it.
_MAX_NAME, _TIME_LENGTH = 64, 20
#: Key in `TaskSpec.params`: the newest message before the recording.
_AFTER: Final = "saved_after"

log = get_logger("saveany.live")


def is_of_call(spec: TaskSpec) -> bool:
    """Whether a task records a call of people, not a stream."""
    return _AFTER in spec.params


class CallRecordings:
    """The recordings by Telegram that tasks of this worker wait for."""

    def __init__(self, tools: Tools) -> None:
        self._accounts = tools.accounts
        self._recorder = CallRecorder(tools.accounts)
        self._telegram = TelegramSource(tools)
        self._running: dict[str, tuple[str, LiveCall]] = {}  # task -> account and call

    async def files(
        self, spec: TaskSpec, items: Sequence[Item], *, stopped: bool
    ) -> AsyncGenerator[ResolvedFile, None]:
        """The files of the recording that are not among `items`, as they arrive after its end. Once the task
        is `stopped`, the recording ends."""
        seen = {item.source["message"] for item in items}
        is_over = bool(seen)
        if not is_over:
            await self._until_recorded(spec, stopped)
        until = time.monotonic() + (0 if is_over else _FIRST_SECONDS)
        while True:
            for message in await self._retried(spec, self._arrived, spec, seen):
                seen.add(message.id)
                for file in self._resolved(spec, message):
                    yield file
                until = time.monotonic() + _NEXT_SECONDS  # from here: a file may take long to save
            if time.monotonic() >= until:
                break
            await asyncio.sleep(_FILE_SECONDS)
        if not seen:
            raise Permanent("Telegram has not sent the recording of the call to Saved Messages")

    async def fetch(self, item: Item, write: Write, have: Sequence[Range]) -> None:
        """Download a file."""
        await self._telegram.fetch(item, write, have)

    def leave(self, task_id: str) -> None:
        """Let the recording of a task go on: another worker may have the task next."""
        self._running.pop(task_id, None)

    async def forget(self, task_id: str) -> None:
        """End the recording of a task, if it runs."""
        if running := self._running.pop(task_id, None):
            try:
                await self._recorder.stop(*running)
            except SaveAnyError as error:
                log.warning("call_recording_not_stopped", task=task_id, reason=error.message)

    # The call.

    async def _until_recorded(self, spec: TaskSpec, stopped: bool) -> None:
        """Have the call recorded until it ends, somebody ends the recording, or the task is stopped."""
        account, was_recorded = spec.params["account"], False
        while call := await self._retried(spec, self._call, spec):
            if stopped:
                await self._retried(spec, self._recorder.stop, account, call)
                break
            if not call.is_recorded and (was_recorded or await self._retried(spec, self._arrived, spec, ())):
                break
            if not call.is_recorded:
                try:
                    await self._retried(spec, self._recorder.start, account, call, _name(spec))
                except NotLive:
                    break
            was_recorded = True
            self._running[spec.id] = account, call
            await asyncio.sleep(_CALL_SECONDS)
        self._running.pop(spec.id, None)

    async def _call(self, spec: TaskSpec) -> LiveCall | None:
        """The call, unless it has ended."""
        found = await self._accounts.live_call(spec.params["account"], spec.links[0])
        return found if found and found.id == spec.params["call"] else None

    async def _retried(self, spec: TaskSpec, ask: Any, *arguments: Any) -> Any:
        """The result of a request, which is repeated until Telegram answers."""
        while True:
            try:
                return await ask(*arguments)
            except Retryable as error:
                log.info("recording_interrupted", task=spec.id, reason=error.message)
                await asyncio.sleep(error.after or _CALL_SECONDS)

    # The files.

    async def _arrived(self, spec: TaskSpec, seen: Collection[int]) -> list[ReadMessage]:
        """The messages with files of the recording, oldest first, without those that were `seen`."""
        found, last = list[ReadMessage](), int(spec.params[_AFTER])
        while page := (await self._recorder.saved_after(spec.params["account"], last)).messages:
            found += [each for each in page if each.id not in seen and _is_named(each, _name(spec))]
            last = page[-1].id
        return found

    def _resolved(self, spec: TaskSpec, message: ReadMessage) -> list[ResolvedFile]:
        media = [replace(each, only=(spec.params["account"],)) for each in message.media]
        albums, seconds = Albums(media), _seconds(message.raw)
        files = [albums.resolved(each) for each in media]
        return [replace(each, source=each.source | {"seconds": seconds}) for each in files]


def _name(spec: TaskSpec) -> str:
    """The name of the recording: the chat and the time at which the call was noticed."""
    began = datetime.fromtimestamp(int(spec.params["started"]) / 1000, UTC)
    chat = safe_name(spec.params.get("title") or spec.links[0])[: _MAX_NAME - _TIME_LENGTH]
    return f"{chat} {began:%Y-%m-%d %H-%M-%S}"


def _is_named(message: ReadMessage, name: str) -> bool:
    """Whether a message has a file with that name, as its file name, its title or its text."""
    texts = [message.raw.message or "", *(each.name or "" for each in message.media)]
    texts += [getattr(each, "title", None) or "" for each in _attributes(message.raw)]
    return bool(message.media) and any(_letters(name) in _letters(text) for text in texts)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _seconds(message: Any) -> int:
    """How long a file is; at least 1."""
    durations = [getattr(each, "duration", None) or 0 for each in _attributes(message)]
    return max(1, round(max(durations, default=0)))


def _attributes(message: Any) -> list[Any]:
    document = getattr(getattr(message, "media", None), "document", None)
    return list(getattr(document, "attributes", None) or ())
