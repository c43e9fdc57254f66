"""Connections that carry nothing but parts of files: shared by all files of a process, warm between them.

Line  one connection; made when needed, made again when lost
Pool  the lines of one account to one data centre, their pace and key, and this process' share of them
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from telethon.tl import functions
from telethon.tl.tlobject import TLRequest

from saveany.telegram.addresses import Address, Purpose
from saveany.telegram.client import Backoff, Client, alive, connected, hang_up, within
from saveany.telegram.errors import NETWORK
from saveany.telegram.flow import FairSemaphore, FloodClock, Window
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.shared_account import SharedAccount
from saveany.telegram.wire import MtprotoSender, TcpConnection


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the downloader; seconds unless said otherwise."""

    lines: int = 8  # connections per account and data centre, of all processes that share a Redis
    window: int = 2  # parts in flight per connection at first …
    deepest: int = 4  # … and when more of them have proved to be faster
    memory: int = 64 << 20  # bytes of all files of the process that are asked for or being written
    part: float = 60.0  # for one part, longer with each try
    tries: int = 8  # per part; flood waits do not count
    flood: float = 60.0  # a longer flood wait ends the download as `Retryable`
    idle: float = 60.0  # an unused connection is closed


class Connection:
    """One connection to a data centre. Connects with the first request, and again after it was lost."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[MtprotoSender]],
        silent: Callable[[MtprotoSender], None],
        depth: Window,
    ) -> None:
        self._connect = connect
        self._silent = silent  # told of a connection that does not answer
        self._turns = FairSemaphore(lambda: depth.now)
        self._lock = asyncio.Lock()
        self._sender: MtprotoSender | None = None
        self._backoff = Backoff()
        self.users = 0  # files

    @property
    def busy(self) -> int:
        """Requests, those that wait for their turn included."""
        return self._turns.wanted

    async def ask(
        self,
        request: TLRequest,
        seconds: float,
        before: Callable[[], Awaitable[None]] | None = None,
        *,
        urgent: bool = False,
    ) -> Any:
        """The answer to one request within `seconds`; a connection that failed is not used again.

        `before` runs when the request could be sent, which may be long after this was called, less long if it
        is `urgent`.
        """
        async with self._turns.turn(urgent=urgent):
            sender = await self._connected()
            if before:
                await before()
            try:
                return await within(seconds, sender.send(request))
            except NETWORK as error:
                if isinstance(error, TimeoutError) and self._sender is sender:  # once for all its requests
                    self._silent(sender)
                await self._drop(sender)
                raise

    async def close(self) -> None:
        """Hang up now; the next request connects again."""
        if self._sender is not None:
            await self._drop(self._sender)

    async def _connected(self) -> MtprotoSender:
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

    async def _drop(self, sender: MtprotoSender) -> None:
        if self._sender is sender:
            self._sender = None
        await hang_up_line(sender)


@dataclass(eq=False, slots=True)
class _Lease:
    """What one file has: up to `count` lines."""

    count: int
    lines: list[Connection] = field(default_factory=list)


class ConnectionPool:
    """The lines of one account to one data centre."""

    def __init__(
        self,
        client: Client,
        dc_id: int,
        folder: SessionFolder,
        limits: PoolLimits,
        redis: Redis | None = None,
    ) -> None:
        self.clock = FloodClock()
        self.depth = Window(limits.window, limits.deepest)
        self.generation = 0  # of the key to a foreign data centre
        self._client = client
        self._dc_id = dc_id
        self._folder = folder
        self._limits = limits
        self.share = limits.lines  # how many of the account's connections are for this process, at least 1
        self._lines = [Connection(self._connect, self._silent, self.depth) for _ in range(limits.lines)]
        self._leases: list[_Lease] = []
        self._company = SharedAccount(redis, client.session.user_id, dc_id, self.clock, self._take_share)
        self._salt = 0
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @contextmanager
    def lines(self, count: int) -> Iterator[list[Connection]]:
        """Up to `count` lines for one file, those with the fewest users; at least one. They are others, more
        or fewer after the share has changed. Unused lines stay connected for a while."""
        lease = _Lease(count)
        self._keep_warm()
        self._company.enter()
        self._leases.append(lease)
        self._deal(lease)
        try:
            yield lease.lines
        finally:
            self._leases.remove(lease)
            for line in lease.lines:
                line.users -= 1
            self._company.exit()
            if not self._leases:
                loop = asyncio.get_running_loop()
                self._reaper = loop.call_later(self._limits.idle, self._start_closing)

    def flood(self, seconds: float) -> None:
        """Telegram asked to wait: let nobody who uses the account here ask before."""
        self._company.flood(seconds)

    async def close(self) -> None:
        """Hang up all lines, and give the share of them to other processes."""
        self._keep_warm()
        await self._company.close()
        await self._hang_up()

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
            await self._hang_up()

    def _deal(self, lease: _Lease) -> None:
        lease.lines[:] = sorted(self._lines[: self.share], key=lambda line: line.users)[: lease.count]
        for line in lease.lines:
            line.users += 1

    async def _take_share(self) -> None:
        """Deal the lines anew if the number of processes has changed. One too many is closed when the parts
        that it was asked for have come."""
        share = max(1, self._limits.lines // self._company.size)
        if share != self.share:
            self.share = share
            for line in self._lines:
                line.users = 0
            for lease in self._leases:
                self._deal(lease)
        await asyncio.gather(*(line.close() for line in self._lines[share:] if not line.busy))

    async def _hang_up(self) -> None:
        """Close all lines; they connect again when used."""
        await asyncio.gather(*(line.close() for line in self._lines))

    def _keep_warm(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def _start_closing(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._hang_up())

    async def _connect(self) -> MtprotoSender:
        login = self._client.session.login(0, "")
        key = login.key if self.at_home else self._folder.load_key(self._client.name, self._dc_id, login)
        return await (self._introduce(key) if key else self._import(login))

    def _silent(self, sender: MtprotoSender) -> None:
        """Try other addresses first when connecting anew."""
        self._client.addresses.failed((sender._connection._ip, sender._connection._port))

    async def _import(self, login: Login) -> MtprotoSender:
        """Make a key for this data centre and have the account's authorization copied to it, once per
        machine: exporting it for each connection would soon be answered with waits of minutes."""
        async with self._folder.lock(self._client.name):
            key = self._folder.load_key(self._client.name, self._dc_id, login)
            if key is None:
                exported = await self._client.call(functions.auth.ExportAuthorizationRequest(self._dc_id))
                query = functions.auth.ImportAuthorizationRequest(exported.id, exported.bytes)
                sender = await self._introduce(None, query)
                self._folder.save_key(self._client.name, self._dc_id, login, sender.auth_key.key)
                return sender
        return await self._introduce(key)  # outside the lock: the other lines need not wait for it

    async def _introduce(self, key: bytes | None, query: TLRequest | None = None) -> MtprotoSender:
        """A connection that has said who it is. Without `key` it agrees on a new one."""

        async def connect(address: Address, seconds: float) -> MtprotoSender:
            return await self._introduce_at(address, seconds, key, query)

        sender = await self._client.reach(self._dc_id, Purpose.FILES, connect)
        self._salt = sender.salt
        return sender

    async def _introduce_at(
        self, address: Address, seconds: float, key: bytes | None, query: TLRequest | None
    ) -> MtprotoSender:
        loggers = self._client.loggers
        # A salt is tied to a key; one of a key that was replaced is just corrected by the data centre.
        sender = MtprotoSender(key, self._salt if key else 0, loggers=loggers, connect_timeout=seconds)
        connection = TcpConnection(*address, self._dc_id, loggers=loggers, proxy=self._client.settings.proxy)
        try:
            await connected(sender, sender.connect(connection), seconds)
            first = self._client.first_request(query or functions.help.GetConfigRequest())
            await within(seconds, sender.send(first))
            await self._company.news()  # asked for meanwhile: a flood wait of the others comes in time
        except BaseException:
            await hang_up_line(sender)
            raise
        return sender


async def hang_up_line(sender: MtprotoSender) -> None:
    """Close a connection now."""
    if sender._connection is not None:
        sender._connection.abort()
    await hang_up(sender, sender.disconnect())
