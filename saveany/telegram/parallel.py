"""The downloader: many parts of a file at once, over connections that carry nothing else.

Facts it rests on (https://core.telegram.org/api/files): a part is at most 1 MiB, aligned, and never crosses a
1 MiB block; large transfers belong on connections of their own; floods, moved files, expired references,
timeouts and dropped connections are all normal. Memory is bounded by connections x window x about 3 MiB
per file, whatever its size.

    Line        one connection; made when needed, made again when lost
    Pool        the lines of one account to one data centre, their flood clock and key
    _Download   one file: the list of parts that are left, and who works on them
    Downloader  the pools of a process; the face
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from telethon import errors as tg
from telethon.crypto import AuthKey
from telethon.network import MTProtoSender
from telethon.network.connection import ConnectionTcpIntermediate
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import Permanent, Retryable
from saveany.telegram.client import CONNECT_SECONDS, Backoff, Client, alive, connected, hang_up, within
from saveany.telegram.errors import (
    NETWORK,
    STALE_REFERENCE,
    Kind,
    flood_seconds,
    kind,
    translated,
    unknown_key,
)
from saveany.telegram.media import Media
from saveany.telegram.session import Folder, Login

PART = 1 << 20

Write = Callable[[int, bytes], Awaitable[None]]
Range = tuple[int, int]  # half-open, bytes
OnWait = Callable[[float], None]
Refresh = Callable[[Media], Awaitable[Media]]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the downloader; seconds unless said otherwise."""

    lines: int = 8  # connections per account and data centre
    window: int = 2  # parts in flight per connection
    part: float = 60.0  # for one part, longer with each try
    tries: int = 8  # per part; flood waits do not count
    flood: float = 60.0  # a longer flood wait ends the download as `Retryable`
    idle: float = 60.0  # an unused connection is closed


class FloodClock:
    """When Telegram will hear this account at this data centre again."""

    def __init__(self) -> None:
        self.until = 0.0  # monotonic

    def hit(self, seconds: float) -> None:
        """Telegram asked to wait."""
        self.until = max(self.until, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds to wait from now, 0 if none."""
        return max(0.0, self.until - time.monotonic())


class Line:
    """One connection to a data centre. Connects with the first request, and again after it was lost."""

    def __init__(self, connect: Callable[[], Awaitable[MTProtoSender]], window: int) -> None:
        self._connect = connect
        self._window = asyncio.Semaphore(window)
        self._lock = asyncio.Lock()
        self._sender: MTProtoSender | None = None
        self._backoff = Backoff()
        self.users = 0

    async def ask(self, request: TLRequest, seconds: float) -> Any:
        """The answer to one request within `seconds`; a connection that failed is not used again."""
        async with self._window:
            sender = await self._connected()
            try:
                return await within(seconds, sender.send(request))
            except NETWORK:
                await self._drop(sender)
                raise

    async def close(self) -> None:
        """Hang up now; the next request connects again."""
        if self._sender is not None:
            await self._drop(self._sender)

    async def _connected(self) -> MTProtoSender:
        async with self._lock:
            if self._sender is None or not alive(self._sender):
                await self.close()
                await self._backoff.pause()
                try:
                    self._sender = await self._connect()
                except Exception:
                    self._backoff.failed()
                    raise
                self._backoff.succeeded()
            return self._sender

    async def _drop(self, sender: MTProtoSender) -> None:
        if self._sender is sender:
            self._sender = None
        await _hang_up(sender)


class Pool:
    """The lines of one account to one data centre."""

    def __init__(self, client: Client, dc_id: int, folder: Folder, limits: Limits) -> None:
        self.clock = FloodClock()
        self.generation = 0  # of the key to a foreign data centre
        self._client = client
        self._dc_id = dc_id
        self._folder = folder
        self._limits = limits
        self._lines = [Line(self._connect, limits.window) for _ in range(limits.lines)]
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @contextmanager
    def lines(self, count: int) -> Iterator[list[Line]]:
        """The `count` lines with the fewest users, for one file. Unused lines stay connected for a while."""
        chosen = sorted(self._lines, key=lambda line: line.users)[:count]
        self._keep_warm()
        for line in chosen:
            line.users += 1
        try:
            yield chosen
        finally:
            for line in chosen:
                line.users -= 1
            if not any(line.users for line in self._lines):
                loop = asyncio.get_running_loop()
                self._reaper = loop.call_later(self._limits.idle, self._start_closing)

    async def close(self) -> None:
        """Hang up all lines; they connect again when used."""
        self._keep_warm()
        await asyncio.gather(*(line.close() for line in self._lines))

    @property
    def is_bot(self) -> bool:
        """Whether the account is a bot."""
        return self._client.is_bot

    @property
    def at_home(self) -> bool:
        """Whether this is the account's own data centre, whose key is the login itself."""
        return self._dc_id == self._client.home

    async def renew_key(self, generation: int) -> None:
        """The data centre no longer knows the key of `generation`: the next connection gets another one."""
        if generation == self.generation:
            self.generation += 1
            self._folder.forget_key(self._client.name, self._dc_id)
            await self.close()

    def _keep_warm(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def _start_closing(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.close())

    async def _connect(self) -> MTProtoSender:
        login = self._client.session.login(0, "")
        if self.at_home:
            return await self._introduce(login.key)
        key = self._folder.load_key(self._client.name, self._dc_id, login)
        return await (self._introduce(key) if key else self._import(login))

    async def _import(self, login: Login) -> MTProtoSender:
        """Make a key for this data centre and have the account's authorization copied to it, once per
        machine: exporting it for each connection would soon be answered with waits of minutes."""
        async with self._folder.lock(self._client.name):
            key = self._folder.load_key(self._client.name, self._dc_id, login)
            if key:
                return await self._introduce(key)
            exported = await self._client.call(functions.auth.ExportAuthorizationRequest(self._dc_id))
            query = functions.auth.ImportAuthorizationRequest(exported.id, exported.bytes)
            sender = await self._introduce(None, query)
            self._folder.save_key(self._client.name, self._dc_id, login, sender.auth_key.key)
            return sender

    async def _introduce(self, key: bytes | None, query: TLRequest | None = None) -> MTProtoSender:
        """A connection that has said who it is. Without `key` it agrees on a new one."""
        host, port = await self._client.address(self._dc_id, files=True)
        loggers = self._client.loggers
        sender = MTProtoSender(
            AuthKey(key) if key else None,
            loggers=loggers,
            retries=1,
            delay=0,
            auto_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
            updates_queue=_NoUpdates(),
        )
        connection = _Connection(host, port, self._dc_id, loggers=loggers, proxy=self._client.settings.proxy)
        try:
            await connected(sender.connect(connection))
            first = self._client.first_request(query or functions.help.GetConfigRequest())
            await within(CONNECT_SECONDS, sender.send(first))
        except BaseException:
            await _hang_up(sender)
            raise
        return sender


class Downloader:
    """Downloads files with the accounts of this process."""

    def __init__(
        self, client: Callable[[str], Client], folder: Folder, refresh: Refresh, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.refresh = refresh
        self._client = client
        self._folder = folder
        self._pools: dict[tuple[str, int], Pool] = {}

    async def download(
        self, media: Media, write: Write, *, have: Sequence[Range] = (), on_wait: OnWait | None = None
    ) -> None:
        """Hand every byte of the file to `write(offset, data)`, but for the parts that lie in `have` whole.

        Parts come as they arrive, several `write` calls run at once, and each of them holds back the
        connection it came from: a slow writer slows the download, never fills memory. Parts are begun in
        ascending order, so a writer may wait for the earlier ones. `on_wait(seconds)` tells of a flood
        wait that is being slept. Raises `Retryable`, `Permanent`, `NeedsLogin`, and what `write` raises.
        """
        todo = [offset for offset in range(0, media.size, PART) if not _is_in(have, offset, media.size)]
        await _Download(self, media, write, todo, on_wait or (lambda _: None)).run()

    def pool(self, account: str, dc_id: int) -> Pool:
        """The lines of an account to a data centre; raises `Retryable` if the account is not ready."""
        client = self._client(account)
        key = (account, dc_id)
        if key not in self._pools:
            self._pools[key] = Pool(client, dc_id, self._folder, self.limits)
        return self._pools[key]

    async def forget(self, account: str) -> None:
        """Hang up the lines of an account, whose login will be another one if it comes back."""
        for key in [key for key in self._pools if key[0] == account]:
            await self._pools.pop(key).close()

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


class _Download:
    """One file on its way."""

    def __init__(
        self, owner: Downloader, media: Media, write: Write, todo: Sequence[int], on_wait: OnWait
    ) -> None:
        self._owner = owner
        self._limits = owner.limits
        self._media = media  # changes when its reference expires or Telegram sends us elsewhere
        self._write = write
        self._on_wait = on_wait
        self._told = 0.0
        self._offsets = iter(todo)  # shared: whoever is free takes the next
        self._width = min(_width(media.size), len(todo))
        self._leases: dict[Pool, list[Line]] = {}
        self._stack = ExitStack()
        self._refreshing = asyncio.Lock()
        self._refreshed = 0  # times in a row, without a part in between

    async def run(self) -> None:
        with self._stack:
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(self._width * self._limits.window):
                        group.create_task(self._work(number))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _work(self, number: int) -> None:
        for offset in self._offsets:
            with translated(self._media.account, is_bot=self._pool().is_bot):
                data = await self._part(number, offset)
            self._refreshed = 0
            await self._write(offset, data)

    async def _part(self, number: int, offset: int) -> bytes:
        tries = 0
        while True:
            media, pool = self._media, self._pool()
            generation = pool.generation
            await self._wait(pool.clock)
            try:
                line = self._line(pool, number)
                return await self._request(line, media, offset, self._limits.part * (tries + 1))
            except Exception as error:
                tries += 0 if isinstance(error, tg.FloodError) else 1
                if tries == self._limits.tries:
                    raise
                await self._recover(pool, generation, media, error)
                await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries) if tries else 0)

    def _pool(self) -> Pool:
        return self._owner.pool(self._media.account, self._media.dc_id)

    def _line(self, pool: Pool, number: int) -> Line:
        """The line of worker `number`, in use by this file until it ends."""
        if pool not in self._leases:
            self._leases[pool] = self._stack.enter_context(pool.lines(self._width))
        return self._leases[pool][number % self._width]

    async def _request(self, line: Line, media: Media, offset: int, seconds: float) -> bytes:
        answer = await line.ask(functions.upload.GetFileRequest(media.tl_location, offset, PART), seconds)
        if not isinstance(answer, types.upload.File):
            raise Permanent("Telegram keeps this file on a foreign network (CDN), which SaveAny cannot read.")
        data: bytes = answer.bytes
        expected = min(PART, media.size - offset)
        if len(data) != expected:
            raise Retryable(f"Telegram sent {len(data)} bytes where {expected} were due, at {offset}")
        return data

    async def _recover(self, pool: Pool, generation: int, media: Media, error: Exception) -> None:
        """Do what makes another try worth it, or raise."""
        what = kind(type(error))
        if isinstance(error, tg.FileMigrateError):
            self._media = replace(self._media, dc_id=error.new_dc)
        elif isinstance(error, STALE_REFERENCE):
            await self._refresh(media)
        elif what is Kind.FLOOD:
            pool.clock.hit(flood_seconds(error))
        elif (what is Kind.LOGIN or unknown_key(error)) and not pool.at_home:
            await pool.renew_key(generation)
        elif unknown_key(error) or not (what is Kind.RETRY or isinstance(error, Retryable)):
            raise error

    async def _refresh(self, used: Media) -> None:
        """Read the message again, once for all parts that found the file reference expired."""
        async with self._refreshing:
            if self._media.location != used.location:
                return
            if self._refreshed == self._limits.tries:
                raise Retryable("Telegram refuses every reference to this file", after=60)
            self._refreshed += 1
            self._media = await self._owner.refresh(used)

    async def _wait(self, clock: FloodClock) -> None:
        while (left := clock.left) > 0:
            if left > self._limits.flood:
                raise Retryable(f"Telegram asks to wait {left:.0f} s", after=left)
            if clock.until > self._told:
                self._told = clock.until
                self._on_wait(left)
            await asyncio.sleep(left)


class _Connection(ConnectionTcpIntermediate):  # type: ignore[misc]  # Telethon is not typed
    """A connection that can be closed without waiting for the other side."""

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _NoUpdates:
    """Where updates go that a data centre sends although nobody asked for them."""

    def put_nowait(self, update: Any) -> None:
        pass


async def _hang_up(sender: MTProtoSender) -> None:
    if sender._connection is not None:
        sender._connection.abort()
    await hang_up(sender, sender.disconnect())


def _is_in(have: Sequence[Range], offset: int, size: int) -> bool:
    """Whether the part at `offset` of a file of `size` bytes lies in one of the ranges."""
    return any(start <= offset and min(offset + PART, size) <= end for start, end in have)


def _width(size: int) -> int:
    """Connections for a file of this size."""
    return 1 if size < 5 * PART else 2 if size < 20 * PART else 4
