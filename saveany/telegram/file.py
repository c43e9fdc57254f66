"""Reads one file from Telegram, part by part, and recovers from every error that can be recovered from."""

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
from saveany.telegram.cdn import CdnRedirect
from saveany.telegram.errors import (
    STALE_REFERENCE,
    WRONG_LOCATION,
    AccountRefused,
    ErrorKind,
    describe,
    flood_seconds,
    flood_wait,
    joined,
    kind_of,
    translate,
    translated,
    unknown_key,
)
from saveany.telegram.flow import FloodClock
from saveany.telegram.media import Media
from saveany.telegram.pool import Connection, ConnectionPool, PoolLimits
from saveany.telegram.takeout import TAKEOUT_ENDED, wrapped

#: Maximum size of a part in bytes, and the size of the blocks whose borders a part must not cross.
PART = 1 << 20

Bytes = bytes | memoryview
OnWait = Callable[[float], None]
#: Finds the same file with an account that is not in the set; None if no other account can see it.
FindElsewhere = Callable[[Media, Collection[str]], Awaitable[Media | None]]


class PoolFactory(Protocol):
    """Returns the connection pool of an account and a data center, which may be one of the CDN."""

    def __call__(self, account: str, dc_id: int, *, cdn: bool = False) -> ConnectionPool:
        """See `downloader.Downloader.pool`."""


_log = get_logger("saveany.telegram")
#: Failures of the CDN after which the file's own data center is asked not to redirect any more.
_CDN_TRIES = 3
#: The last bytes of every JPEG, and the maximum number of zero bytes that may follow them.
_JPEG_END, _MAX_PADDING = b"\xff\xd9", 1024
#: Upper limit for the size of a photo in bytes; Telegram's photos are smaller.
_MAX_PHOTO = 64 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class LongWait(Retryable):
    """The flood wait of this account is too long for a download; another account may continue."""


class PhotoSizeMismatch(Retryable):
    """A photo is complete but has `size` bytes instead of the size that Telegram states. Retry with
    `size`."""

    def __init__(self, size: int, stated: int) -> None:
        # A retry with a delay, however short, does not count as a failure; this error is nobody's fault.
        super().__init__(
            "Telegram states a size of {stated} bytes for the photo, but sends {size}.",
            after=0.01,
            stated=stated,
            size=size,
        )
        self.size = size


class _Redirected(Exception):
    """The part must be read from the CDN."""


class _PartRequest(NamedTuple):
    """Arguments of upload.getFile, in its order."""

    offset: int
    limit: int
    precise: bool


class RemoteFile:
    """A file that is being read. It follows redirects to other data centers, switches accounts when one fails
    and renews the file reference."""

    def __init__(
        self,
        media: Media,
        width: int,
        pool: PoolFactory,
        refresh: Callable[[Media], Awaitable[Media]],
        find_elsewhere: FindElsewhere,
        on_wait: OnWait | None,
        limits: PoolLimits,
        leases: ExitStack,
        *,
        urgent: bool,
    ) -> None:
        self._media = media  # replaced when its reference is renewed, or the data center or account changes
        self._width = width  # number of connections to use
        self.urgent = urgent  # its parts go before those of other files
        self._get_pool = pool
        self._refresh = refresh
        self._find_elsewhere = find_elsewhere
        self._failed_accounts: dict[str, TaskError] = {}  # accounts that cannot read this file
        self._on_wait = on_wait
        self._limits = limits
        self._leases = leases
        self._connections: dict[ConnectionPool, list[Connection]] = {}  # leased until `leases` ends
        self._redirect: CdnRedirect | None = None  # set while the file is read from the CDN
        self._cdn_failures = 0
        self._reported_until = 0.0  # end of the last flood wait that was reported to `on_wait`
        self._refreshing = asyncio.Lock()
        self._refreshes = 0  # consecutive ones, without a part in between

    @property
    def max_in_flight(self) -> int:
        """The number of parts that should be in flight at the moment."""
        pool = self._cdn_pool(self._redirect) if self._redirect else self._pool()
        return pool.parts_in_flight(self._width)

    def length(self, offset: int, limit: int) -> int:
        """The number of bytes of the part."""
        return min(limit, self._media.size - offset)

    async def part(self, offset: int, limit: int, *, precise: bool = False) -> Bytes:
        """Exactly the bytes from `offset` to `offset + limit` or the end of the file.

        Both are multiples of 4 KiB, and `limit` divides 1 MiB; with `precise`, multiples of 1 KiB are enough.
        Raises `Retryable`, `Permanent` and `NeedsLogin`.
        """
        part = _PartRequest(offset, limit, precise)
        with translated(self._media.account, is_bot=self._pool().is_bot):
            data = await self._read_with_retries(part)
        self._refreshes = 0
        return data

    async def hashes(self, offset: int) -> list[types.FileHash]:
        """Telegram's SHA-256 of the pieces of the file from `offset` on: those of several pieces, or none if
        Telegram has none. Raises as `part`."""
        tries = 0
        with translated(self._media.account, is_bot=self._pool().is_bot):
            while True:
                media, pool = self._media, self._pool()
                generation = pool.generation
                try:
                    await self._wait(pool.flood_clock)
                    request = functions.upload.GetFileHashesRequest(media.tl_location, offset)
                    return list(await self._send(pool, request, self._limits.part_seconds))
                except Exception as error:
                    tries += 0 if isinstance(error, tg.FloodError) else 1
                    if isinstance(error, LongWait) or tries == self._limits.max_tries:
                        raise
                    await self._recover(pool, generation, media, error)

    async def _read_with_retries(self, part: _PartRequest) -> Bytes:
        tries = 0
        while True:
            media, pool = self._media, self._pool()
            generation, redirect = pool.generation, self._redirect
            seconds = self._limits.part_seconds * (tries + 1)
            try:
                if redirect is not None:
                    return await self._read_from_cdn(redirect, pool, part, seconds)
                await self._wait(pool.flood_clock)
                return await self._read_from_dc(pool, media, part, seconds)
            except _Redirected:
                continue
            except PhotoSizeMismatch:
                raise
            except LongWait as wait:
                await self._switch_account(media, wait)
            except Exception as error:
                tries += 0 if isinstance(error, tg.FloodError) else 1
                if tries == self._limits.max_tries:
                    raise
                if redirect is not None:
                    self._leave_cdn(redirect, error)
                else:
                    await self._recover(pool, generation, media, error)
                await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries) if tries else 0)

    def _pool(self) -> ConnectionPool:
        return self._get_pool(self._media.account, self._media.dc_id)

    def _least_loaded(self, pool: ConnectionPool) -> Connection:
        """The connection with the fewest requests, so that a slow one gets fewer parts."""
        if pool not in self._connections:
            self._connections[pool] = self._leases.enter_context(pool.lease(self._width))
        return min(self._connections[pool], key=lambda each: each.load)

    async def _read_from_dc(
        self, pool: ConnectionPool, media: Media, part: _PartRequest, seconds: float
    ) -> Bytes:
        data = await self._fetch(pool, media, part, seconds)
        expected = min(part.limit, media.size - part.offset)
        if len(data) != expected:
            await self._check_photo_size(pool, media)
            raise Retryable(
                "Telegram sent {received} bytes at {offset}; {expected} were expected.",
                received=len(data),
                offset=part.offset,
                expected=expected,
            )
        self._record_part(pool, len(data))
        return data

    async def _fetch(self, pool: ConnectionPool, media: Media, part: _PartRequest, seconds: float) -> Bytes:
        """The bytes that Telegram sends for a part, of any length. Raises `_Redirected` for a redirect to the
        CDN."""
        cdn = self._cdn_failures < _CDN_TRIES
        request = (
            functions.upload.GetWebFileRequest(media.tl_location, part.offset, part.limit)
            if media.is_web
            else functions.upload.GetFileRequest(media.tl_location, *part, cdn_supported=cdn)
        )
        if media.takeout:
            request = wrapped(request, media.takeout)
        reply = await self._send(pool, request, seconds)
        if isinstance(reply, types.upload.FileCdnRedirect):
            if not cdn:
                raise Retryable("Telegram keeps this file on a foreign network (CDN) that does not respond.")
            self._redirect = self._redirect or CdnRedirect(reply, media.size)  # the same one for all parts
            raise _Redirected
        data: Bytes = reply.bytes
        return data

    async def _check_photo_size(self, pool: ConnectionPool, media: Media) -> None:
        """Raise `PhotoSizeMismatch` for a photo that is complete but has another size than Telegram
        states."""
        if media.kind != "photo":
            return
        offset, end = 0, b""
        while offset < _MAX_PHOTO:
            part = _PartRequest(offset, PART, False)
            data = await self._fetch(pool, media, part, self._limits.part_seconds)
            offset, end = offset + len(data), (end + bytes(data[-_MAX_PADDING:]))[-_MAX_PADDING:]
            if len(data) < PART:
                break
        if offset not in (media.size, 0) and end.rstrip(b"\0").endswith(_JPEG_END):
            raise PhotoSizeMismatch(offset, media.size)

    async def _read_from_cdn(
        self, redirect: CdnRedirect, home: ConnectionPool, part: _PartRequest, seconds: float
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
        self._record_part(pool, len(data))
        return data

    def _cdn_pool(self, redirect: CdnRedirect) -> ConnectionPool:
        return self._get_pool(self._media.account, redirect.dc_id, cdn=True)

    def _leave_cdn(self, redirect: CdnRedirect, error: Exception) -> None:
        """Return to the file's own data center, which redirects again or, after several failures, sends the
        file."""
        if self._redirect is redirect:
            reason = error.message if isinstance(error, TaskError) else describe(error)
            _log.warning("cdn_failed", reason=reason)
            self._redirect = None
            self._cdn_failures += 1

    async def _send(self, pool: ConnectionPool, request: TLRequest, seconds: float) -> Any:
        # The request may wait for a slot or a connection. A flood wait that begins then counts, too.
        connection = self._least_loaded(pool)
        try:
            return await connection.call(
                request, seconds, lambda: self._wait(pool.flood_clock), urgent=self.urgent
            )
        except tg.FloodError as error:
            pool.flood(flood_seconds(error))
            raise

    def _record_part(self, pool: ConnectionPool, size: int) -> None:
        connections = self._connections[pool]
        busy = sum(each.load for each in connections)
        pool.window.on_part(size, idle=busy < len(connections) / 2)

    async def _recover(self, pool: ConnectionPool, generation: int, media: Media, error: Exception) -> None:
        """Prepare another attempt after an error, or raise the error if another attempt cannot help."""
        what = kind_of(type(error))
        if what is ErrorKind.FLOOD or isinstance(error, TimeoutError | tg.TimedOutError):
            pool.window.on_failure()
        if isinstance(error, TAKEOUT_ENDED):
            self._media = replace(self._media, takeout=0)
        elif isinstance(error, tg.FileMigrateError):
            self._media = replace(self._media, dc_id=error.new_dc)
        elif isinstance(error, STALE_REFERENCE):
            await self._renew(media)
        elif what is ErrorKind.FLOOD:
            pass  # the next attempt waits
        elif isinstance(error, WRONG_LOCATION) and not self._refreshes:
            await self._renew(media)
        elif (what is ErrorKind.LOGIN or unknown_key(error)) and not pool.is_home:
            await pool.renew_key(generation)
        elif what is ErrorKind.FAIL and isinstance(error, tg.RPCError):
            await self._switch_account(media, translate(error, media.account))
        elif unknown_key(error) or not (what is ErrorKind.RETRY or isinstance(error, Retryable)):
            raise error

    async def _renew(self, used: Media) -> None:
        """Read the message again, once for all parts whose file reference has expired."""
        async with self._refreshing:
            if self._media.location != used.location:
                return
            if self._refreshes == self._limits.max_tries:
                raise Retryable("Telegram rejects every reference to this file.", after=60)
            self._refreshes += 1
            self._media = await self._refresh(used)

    async def _switch_account(self, used: Media, reason: TaskError) -> None:
        """Continue with another account, once for all parts. Raises if no other account can read the file."""
        async with self._refreshing:
            if self._media.account != used.account:
                return
            self._failed_accounts[used.account] = reason
            other = await self._find_elsewhere(used, self._failed_accounts)
            if other is None:
                raise _combined(self._failed_accounts.values()) from reason
            _log.info("account_switched", account=other.account, reason=reason.message)
            self._media = other
            self._redirect = None

    async def _wait(self, clock: FloodClock) -> None:
        while (seconds := clock.remaining) > 0:
            if seconds > self._limits.max_flood_seconds:
                raise LongWait(flood_wait(seconds), after=seconds)
            if clock.until > self._reported_until and self._on_wait:
                self._reported_until = clock.until
                self._on_wait(seconds)
            await asyncio.sleep(seconds)


def _combined(errors: Collection[TaskError]) -> TaskError:
    """The error that stands for those of several accounts."""
    retryable = [each for each in errors if each.retryable]
    if retryable:
        return min(retryable, key=lambda each: each.after)
    return AccountRefused(joined([each.text for each in errors]))
