"""One file at Telegram, read part by part whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from telethon import errors as tg
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import Retryable, TaskError
from saveany.logs import get_logger
from saveany.telegram.cdn import Redirect
from saveany.telegram.errors import (
    STALE_REFERENCE,
    WRONG_LOCATION,
    AccountRefused,
    ErrorKind,
    describe,
    flood_seconds,
    kind,
    translate,
    translated,
    unknown_key,
)
from saveany.telegram.flow import FloodClock
from saveany.telegram.media import Media
from saveany.telegram.pool import Connection, ConnectionPool, PoolLimits

#: The most bytes of a part, and the block that a part must not cross.
PART = 1 << 20

Bytes = bytes | memoryview
OnWait = Callable[[float], None]
#: The same file as an account sees it that is not in the set; None if no other can.
Elsewhere = Callable[[Media, Collection[str]], Awaitable[Media | None]]


class GetPool(Protocol):
    """Finds the lines of an account to a data centre, which may be one of a CDN."""

    def __call__(self, account: str, dc_id: int, *, cdn: bool = False) -> ConnectionPool:
        """See `parallel.Downloader.pool`."""


_log = get_logger("saveany.telegram")
#: After so many failures of a CDN the file's own data centre is asked not to redirect any more.
_CDN_TRIES = 3
#: The end of every JPEG, and how many bytes of zeros may follow it.
_JPEG_END, _PADDING = b"\xff\xd9", 1024
#: Telegram makes photos smaller than this.
_LARGEST_PHOTO = 64 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class LongWait(Retryable):
    """Telegram wants this account to wait longer than a download does; another account may go on."""


class OtherSize(Retryable):
    """A photo is whole, but has `size` bytes, not as many as Telegram says. With that size it can be read."""

    def __init__(self, size: int, said: int) -> None:
        # A wait, however short, is no failure: this is nobody's fault.
        super().__init__(f"Telegram says that the photo has {said} bytes, and sends {size}", after=0.01)
        self.size = size


class _Redirected(Exception):
    """The part is to be read from a CDN."""


class _PartRequest(NamedTuple):
    """In the order of upload.getFile's parameters."""

    offset: int
    limit: int
    precise: bool


class RemoteFile:
    """A file that is being read. Follows it to other data centres and accounts, and renews its reference."""

    def __init__(
        self,
        media: Media,
        width: int,
        pool: GetPool,
        refresh: Callable[[Media], Awaitable[Media]],
        elsewhere: Elsewhere,
        on_wait: OnWait | None,
        limits: PoolLimits,
        leases: ExitStack,
        *,
        urgent: bool,
    ) -> None:
        self._media = media  # changes when its reference expires or Telegram sends us elsewhere
        self._width = width  # lines to use
        self.urgent = urgent  # its parts go before those of other files
        self._get_pool = pool
        self._refresh = refresh
        self._elsewhere = elsewhere
        self._gave_up: dict[str, TaskError] = {}  # accounts that cannot go on with this file, and why
        self._on_wait = on_wait
        self._limits = limits
        self._leases = leases
        self._lines: dict[ConnectionPool, list[Connection]] = {}  # in use by this file until `leases` ends
        self._redirect: Redirect | None = None  # the file is read there now
        self._cdn_failures = 0
        self._told = 0.0
        self._refreshing = asyncio.Lock()
        self._refreshed = 0  # times in a row, without a part in between

    @property
    def at_once(self) -> int:
        """How many parts are worth being asked for at the same time, now."""
        pool = self._cdn_pool(self._redirect) if self._redirect else self._pool()
        return min(self._width, pool.share) * pool.depth.now

    async def part(self, offset: int, limit: int, *, precise: bool = False) -> Bytes:
        """The bytes from `offset` on, `limit` of them or up to the end of the file; never fewer.

        Both are multiples of 4 KiB, and `limit` divides 1 MiB; if `precise`, multiples of 1 KiB are enough.
        Raises `Retryable`, `Permanent` and `NeedsLogin`.
        """
        part = _PartRequest(offset, limit, precise)
        with translated(self._media.account, is_bot=self._pool().is_bot):
            data = await self._try(part)
        self._refreshed = 0
        return data

    async def _try(self, part: _PartRequest) -> Bytes:
        tries = 0
        while True:
            media, pool = self._media, self._pool()
            generation, redirect = pool.generation, self._redirect
            seconds = self._limits.part * (tries + 1)
            try:
                if redirect is not None:
                    return await self._ask_cdn(redirect, pool, part, seconds)
                await self._wait(pool.clock)
                return await self._ask(pool, media, part, seconds)
            except _Redirected:
                continue
            except OtherSize:
                raise
            except LongWait as wait:
                await self._move(media, wait)
            except Exception as error:
                tries += 0 if isinstance(error, tg.FloodError) else 1
                if tries == self._limits.tries:
                    raise
                if redirect is not None:
                    self._leave_cdn(redirect, error)
                else:
                    await self._recover(pool, generation, media, error)
                await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries) if tries else 0)

    def _pool(self) -> ConnectionPool:
        return self._get_pool(self._media.account, self._media.dc_id)

    def _line(self, pool: ConnectionPool) -> Connection:
        """The line that has the least to do: a slow one gets fewer parts."""
        if pool not in self._lines:
            self._lines[pool] = self._leases.enter_context(pool.lines(self._width))
        return min(self._lines[pool], key=lambda line: line.busy)

    async def _ask(self, pool: ConnectionPool, media: Media, part: _PartRequest, seconds: float) -> Bytes:
        data = await self._sent(pool, media, part, seconds)
        expected = min(part.limit, media.size - part.offset)
        if len(data) != expected:
            await self._measure(pool, media)
            raise Retryable(f"Telegram sent {len(data)} bytes where {expected} were due, at {part.offset}")
        self._answered(pool, len(data))
        return data

    async def _sent(self, pool: ConnectionPool, media: Media, part: _PartRequest, seconds: float) -> Bytes:
        """What Telegram sends for a part, however much it is. Raises `_Redirected` if that is a redirect."""
        cdn = self._cdn_failures < _CDN_TRIES
        request = (
            functions.upload.GetWebFileRequest(media.tl_location, part.offset, part.limit)
            if media.is_web
            else functions.upload.GetFileRequest(media.tl_location, *part, cdn_supported=cdn)
        )
        answer = await self._send(pool, request, seconds)
        if isinstance(answer, types.upload.FileCdnRedirect):
            if not cdn:
                raise Retryable("Telegram keeps this file on a foreign network (CDN) that does not answer")
            self._redirect = self._redirect or Redirect(answer, media.size)  # all parts follow the same one
            raise _Redirected
        data: Bytes = answer.bytes
        return data

    async def _measure(self, pool: ConnectionPool, media: Media) -> None:
        """Raises `OtherSize` for a photo that has its end, but not where Telegram says."""
        if media.kind != "photo":
            return
        offset, end = 0, b""
        while offset < _LARGEST_PHOTO:
            data = await self._sent(pool, media, _PartRequest(offset, PART, False), self._limits.part)
            offset, end = offset + len(data), (end + bytes(data[-_PADDING:]))[-_PADDING:]
            if len(data) < PART:
                break
        if offset not in (media.size, 0) and end.rstrip(b"\0").endswith(_JPEG_END):
            raise OtherSize(offset, media.size)

    async def _ask_cdn(
        self, redirect: Redirect, home: ConnectionPool, part: _PartRequest, seconds: float
    ) -> Bytes:
        pool = self._cdn_pool(redirect)
        generation = pool.generation
        try:
            data = await redirect.part(
                part.offset,
                part.limit,
                lambda request: self._send(pool, request, seconds),
                lambda request: self._send(home, request, seconds),
            )
        except Exception as error:
            if unknown_key(error):
                await pool.renew_key(generation)
            raise
        self._answered(pool, len(data))
        return data

    def _cdn_pool(self, redirect: Redirect) -> ConnectionPool:
        return self._get_pool(self._media.account, redirect.dc_id, cdn=True)

    def _leave_cdn(self, redirect: Redirect, error: Exception) -> None:
        """Ask the file's own data centre again: it redirects anew or, in the end, sends the file itself."""
        if self._redirect is redirect:
            reason = error.message if isinstance(error, TaskError) else describe(error)
            _log.warning("a CDN failed", reason=reason)
            self._redirect = None
            self._cdn_failures += 1

    async def _send(self, pool: ConnectionPool, request: TLRequest, seconds: float) -> Any:
        # It may have to wait for its turn, or for a connection: a flood wait that came meanwhile counts too.
        line = self._line(pool)
        try:
            return await line.ask(request, seconds, lambda: self._wait(pool.clock), urgent=self.urgent)
        except tg.FloodError as error:
            pool.flood(flood_seconds(error))
            raise

    def _answered(self, pool: ConnectionPool, size: int) -> None:
        lines = self._lines[pool]
        pool.depth.answered(size, idle=sum(line.busy for line in lines) < len(lines) / 2)

    async def _recover(self, pool: ConnectionPool, generation: int, media: Media, error: Exception) -> None:
        """Do what makes another try worth it, or raise."""
        what = kind(type(error))
        if what is ErrorKind.FLOOD or isinstance(error, TimeoutError | tg.TimedOutError):
            pool.depth.trouble()
        if isinstance(error, tg.FileMigrateError):
            self._media = replace(self._media, dc_id=error.new_dc)
        elif isinstance(error, STALE_REFERENCE):
            await self._renew(media)
        elif what is ErrorKind.FLOOD:
            pass  # the next try waits
        elif isinstance(error, WRONG_LOCATION) and not self._refreshed:
            await self._renew(media)
        elif (what is ErrorKind.LOGIN or unknown_key(error)) and not pool.at_home:
            await pool.renew_key(generation)
        elif what is ErrorKind.FAIL and isinstance(error, tg.RPCError):
            await self._move(media, translate(error, media.account))
        elif unknown_key(error) or not (what is ErrorKind.RETRY or isinstance(error, Retryable)):
            raise error

    async def _renew(self, used: Media) -> None:
        """Read the message again, once for all parts that found the file reference expired."""
        async with self._refreshing:
            if self._media.location != used.location:
                return
            if self._refreshed == self._limits.tries:
                raise Retryable("Telegram refuses every reference to this file", after=60)
            self._refreshed += 1
            self._media = await self._refresh(used)

    async def _move(self, used: Media, why: TaskError) -> None:
        """Go on with another account, once for all parts; raises if there is none that can."""
        async with self._refreshing:
            if self._media.account != used.account:
                return
            self._gave_up[used.account] = why
            other = await self._elsewhere(used, self._gave_up)
            if other is None:
                raise self._verdict() from why
            _log.info("another account goes on", account=other.account, reason=why.message)
            self._media = other
            self._redirect = None

    def _verdict(self) -> TaskError:
        passing = [each for each in self._gave_up.values() if isinstance(each, Retryable)]
        if passing:
            return min(passing, key=lambda each: each.after)
        return AccountRefused("; ".join(each.message for each in self._gave_up.values()))

    async def _wait(self, clock: FloodClock) -> None:
        while (left := clock.left) > 0:
            if left > self._limits.flood:
                raise LongWait(f"Telegram asks to wait {left:.0f} s", after=left)
            if clock.until > self._told and self._on_wait:
                self._told = clock.until
                self._on_wait(left)
            await asyncio.sleep(left)
