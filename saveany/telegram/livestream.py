"""Reads livestreams: group calls in RTMP mode, whose parts of a second are files
(https://core.telegram.org/api/group-calls).

A viewer has to join the call, with any WebRTC source and muted, and is removed from it now and then. Parts
are at one data center, which may change. The server keeps the newest parts for a while; older ones are lost.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from telethon import errors as tg
from telethon.tl import functions, types

from saveany.errors import Permanent
from saveany.logs import get_logger
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import NETWORK, flood_seconds
from saveany.telegram.pool import Connection, ConnectionPool

PART_MS: Final = 1000
#: The channel that has picture and sound, and its best quality.
_CHANNEL, _QUALITY = 1, 2
_SIGNATURE: Final = 0xA12E810D
_MAX_PART: Final = 1 << 20
#: Seconds for one request, and until the next look if there is no new part.
_SECONDS, _POLL_SECONDS = 15.0, 0.25
#: Seconds without a new part after which it is checked whether the call goes on.
_QUIET_SECONDS: Final = 3.0
#: Seconds between two messages to the server that the viewer is still there.
_PRESENCE_SECONDS: Final = 4.0
#: Age in ms of the oldest part that the server may still have.
_KEPT_MS: Final = 120_000
#: Number of times that a damaged part is fetched.
_TRIES: Final = 3

log = get_logger("saveany.telegram")


class NotLive(Permanent):
    """The chat is not live."""


class LivePart(NamedTuple):
    """One second of a stream: an MP4 of its own, with its time."""

    time_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A stream that is going on, or an ordinary call of people, which only Telegram can record."""

    id: int
    access_hash: int
    title: str
    dc: int
    viewers: int
    is_stream: bool = True
    is_managed: bool = False  # whether the account may have an ordinary call recorded
    is_recorded: bool = False  # by Telegram, for the account or another administrator
    has_video: bool = False

    @property
    def input(self) -> types.InputGroupCall:
        """The call as requests name it."""
        return types.InputGroupCall(self.id, self.access_hash)


def ordinary_call() -> Permanent:
    """The error for a call that is no stream, and that the account cannot have recorded."""
    return Permanent(
        "this is an ordinary call, not a stream; it can only be recorded by an administrator of the chat"
    )


async def find_call(client: MtprotoClient, channel: types.InputChannel) -> LiveCall | None:
    """The stream or the call of a channel or group; None if there is none."""
    full = await client.call(functions.channels.GetFullChannelRequest(channel))
    named = full.full_chat.call
    found = await _current(client, named) if named is not None else None
    if found is None or found.is_stream:
        return found
    chat = next((each for each in full.chats if each.id == channel.channel_id), None)
    rights = getattr(chat, "admin_rights", None)
    is_managed = bool(getattr(chat, "creator", False) or getattr(rights, "manage_call", False))
    return replace(found, is_managed=is_managed)


async def _current(client: MtprotoClient, call: types.InputGroupCall) -> LiveCall | None:
    """A call as it is now; None if it has ended."""
    try:
        found = (await client.call(functions.phone.GetGroupCallRequest(call, 1))).call
    except (tg.GroupcallInvalidError, tg.GroupcallForbiddenError):
        return None
    if isinstance(found, types.GroupCallDiscarded):
        return None
    return LiveCall(
        id=found.id,
        access_hash=found.access_hash,
        title=found.title or "",
        dc=found.stream_dc_id or client.home_dc,
        viewers=found.participants_count,
        is_stream=bool(found.rtmp_stream),
        is_recorded=found.record_start_date is not None,
        has_video=bool(found.can_start_video or found.unmuted_video_count),
    )


class StreamReader:
    """Reads the parts of one stream, in order, each once."""

    def __init__(self, client: MtprotoClient, pool: Callable[[int], ConnectionPool], call: LiveCall) -> None:
        """`pool` returns the connections to a data center."""
        self._client = client
        self._pool = pool
        self._call = call
        self._source = 0  # WebRTC source with which the call was joined
        self._present_until = 0.0  # monotonic
        self._last_part = time.monotonic()

    @property
    def call(self) -> LiveCall:
        """The stream."""
        return self._call

    async def parts(self, after_ms: int | None = None, *, back_ms: int = 0) -> AsyncGenerator[LivePart, None]:
        """The parts after a time, or from `back_ms` before the newest one on, until the stream ends. Parts
        that the server does not have any more are left out. Close the iterator (`aclosing`) to leave the
        call."""
        await self._join()
        try:
            next_ms = await self._first(after_ms, back_ms)
            while next_ms is not None:
                with ExitStack() as leases:  # until the stream moves to another data center
                    dc = self._call.dc
                    connections = leases.enter_context(self._pool(dc).lease(1))
                    while next_ms is not None and self._call.dc == dc:
                        data, next_ms = await self._step(connections[0], next_ms)
                        if data is not None and next_ms is not None:
                            yield LivePart(next_ms - PART_MS, data)
        finally:
            await self._leave()

    async def _first(self, after_ms: int | None, back_ms: int) -> int | None:
        """The time of the first part to fetch; None if the stream has ended before it has begun."""
        if after_ms is not None:
            return after_ms + PART_MS
        while (newest := await self._newest()) is None:
            if not await self._goes_on():
                return None
            await asyncio.sleep(_POLL_SECONDS)
        return newest - back_ms

    async def _step(self, connection: Connection, time_ms: int) -> tuple[bytes | None, int | None]:
        """Fetch a part. Returns its MP4, and the time of the next one; without an MP4 if it was left out, or
        is not there yet, and without a time if the stream has ended."""
        try:
            await self._stay()
            data = await self._fetch(connection, time_ms)
        except NETWORK as error:
            log.info("stream_interrupted", error=type(error).__name__)
            return await self._after_pause(time_ms)
        except tg.FloodError as error:
            await asyncio.sleep(flood_seconds(error))
            return None, time_ms
        except tg.FileMigrateError as error:
            self._move(error.new_dc)
            return None, time_ms
        except tg.RPCError as error:
            return await self._after_refusal(error, time_ms)
        self._last_part = time.monotonic()
        return data, time_ms + PART_MS

    async def _after_refusal(self, error: tg.RPCError, time_ms: int) -> tuple[None, int | None]:
        name = str(vars(error).get("message") or "")
        if isinstance(error, tg.GroupcallJoinMissingError):
            return None, time_ms if await self._rejoin() else None
        if isinstance(error, tg.GroupcallForbiddenError | tg.GroupcallInvalidError):
            return None, time_ms if await self._goes_on() and await self._rejoin() else None
        if name == "TIME_TOO_SMALL":
            newest = await self._newest()
            oldest = time_ms + PART_MS if newest is None else newest - _KEPT_MS
            return None, max(time_ms + PART_MS, oldest)
        if name == "TIME_INVALID" or name.endswith("_CHANNEL_INVALID"):
            newest = await self._newest()
            shift = 0 if newest is None else (newest - time_ms) % PART_MS
            _, next_ms = await self._after_pause(time_ms)
            return None, next_ms + (shift or PART_MS) if next_ms is not None else None
        if name == "TIME_TOO_BIG" or isinstance(error, tg.ServerError | tg.TimedOutError):
            return await self._after_pause(time_ms)
        raise error

    async def _after_pause(self, time_ms: int) -> tuple[None, int | None]:
        """Wait until the part may be there; without a time if the stream has ended meanwhile."""
        await asyncio.sleep(_POLL_SECONDS)
        if time.monotonic() - self._last_part < _QUIET_SECONDS:
            return None, time_ms
        self._last_part = time.monotonic()
        return None, time_ms if await self._goes_on() else None

    async def _fetch(self, connection: Connection, time_ms: int) -> bytes | None:
        """The MP4 of a part; None if it is damaged."""
        location = types.InputGroupCallStream(
            self._call.input, time_ms, 0, video_channel=_CHANNEL, video_quality=_QUALITY
        )
        request = functions.upload.GetFileRequest(location, 0, _MAX_PART)
        for tries in range(_TRIES):
            reply = await connection.call(request, _SECONDS, urgent=True)
            try:
                return content_of(bytes(reply.bytes))
            except ValueError:
                log.warning("stream_part_damaged", time=time_ms, tries=tries + 1)
        return None

    async def _newest(self) -> int | None:
        """The time of the newest part; None if there is none."""
        request = functions.phone.GetGroupCallStreamChannelsRequest(self._call.input)
        while True:
            try:
                with self._pool(self._call.dc).lease(1) as connections:
                    found = (await connections[0].call(request, _SECONDS)).channels
            except tg.FileMigrateError as error:
                self._move(error.new_dc)
            except tg.GroupcallJoinMissingError:
                if not await self._rejoin():
                    return None
            except (tg.GroupcallForbiddenError, tg.GroupcallInvalidError):
                return None
            except NETWORK:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                times = [each.last_timestamp_ms for each in found if each.channel == _CHANNEL]
                return max(times, default=None)

    def _move(self, dc: int) -> None:
        self._call = replace(self._call, dc=dc)

    async def _goes_on(self) -> bool:
        """Whether the call goes on, at the data center where it is now."""
        current = await _current(self._client, self._call.input)
        if current is not None:
            self._call = current
        return current is not None

    # Being in the call.

    async def _rejoin(self) -> bool:
        """Join again; False if the call has ended."""
        try:
            await self._join()
        except NotLive:
            return False
        return True

    async def _join(self) -> None:
        while True:
            self._source = secrets.randbelow(2**31 - 1) + 1
            params = {"ufrag": "", "pwd": "", "fingerprints": [], "ssrc": self._source}
            request = functions.phone.JoinGroupCallRequest(
                self._call.input,
                types.InputPeerSelf(),
                types.DataJSON(json.dumps(params)),
                muted=True,
                video_stopped=True,
            )
            try:
                await self._client.call(request)
            except tg.GroupcallSsrcDuplicateMuchError:
                continue
            except (tg.GroupcallForbiddenError, tg.GroupcallInvalidError) as error:
                raise NotLive("the stream has ended") from error
            self._present_until = time.monotonic() + _PRESENCE_SECONDS
            return

    async def _stay(self) -> None:
        """Tell the server now and then that the viewer is still there."""
        if time.monotonic() < self._present_until:
            return
        self._present_until = time.monotonic() + _PRESENCE_SECONDS
        request = functions.phone.CheckGroupCallRequest(self._call.input, [self._source])
        if self._source not in await self._client.call(request):
            await self._join()

    async def _leave(self) -> None:
        try:
            await self._client.call(functions.phone.LeaveGroupCallRequest(self._call.input, self._source))
        except (tg.RPCError, *NETWORK):
            pass  # the call has ended, or the server will notice


def content_of(part: bytes) -> bytes:
    """The MP4 in a part, which follows a header. Raises `ValueError` unless there is a whole one."""
    try:
        if struct.unpack_from("<I", part) != (_SIGNATURE,):
            raise ValueError("no signature")
        offset = _after_text(part, 4) + 4
        (count,) = struct.unpack_from("<i", part, offset)
        offset += 4
        for _ in range(count):
            offset = _after_text(part, offset + 4) + 8
    except (struct.error, IndexError) as error:
        raise ValueError("the header is too short") from error
    content = part[offset:]
    if content[4:8] != b"ftyp" or not _is_whole(content):
        raise ValueError("no whole MP4 follows the header")
    return content


def _is_whole(content: bytes) -> bool:
    """Whether the boxes of an MP4 end where it ends."""
    offset = 0
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset : offset + 4], "big")
        if size == 1:  # the size has 64 bits, and follows
            size = int.from_bytes(content[offset + 8 : offset + 16], "big")
        if size < 8:
            return size == 0  # up to the end
        offset += size
    return offset == len(content)


def _after_text(data: bytes, offset: int) -> int:
    """Where a serialized text ends, with its padding."""
    size, head = data[offset], 1
    if size == 254:
        size, head = int.from_bytes(data[offset + 1 : offset + 4], "little"), 4
    return offset + (head + size + 3) // 4 * 4
