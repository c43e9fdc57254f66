"""Pools of connections that carry only parts of files. All files of a process share them.

Connection      one connection; opened on first use and reopened after it was lost
ConnectionPool  the connections of one account to one data center, with their flow control and key
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from telethon.tl import functions
from telethon.tl.tlobject import TLRequest

from saveany.store.telegram import TelegramStore
from saveany.telegram.addresses import Address, Purpose
from saveany.telegram.client import (
    Backoff,
    MtprotoClient,
    disconnect,
    is_usable,
    wait_connected,
    with_timeout,
)
from saveany.telegram.errors import NETWORK
from saveany.telegram.flow import FairSemaphore, FloodClock, Window
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.shared_account import SharedAccount
from saveany.telegram.wire import MtprotoSender, TcpConnection


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of downloads and uploads."""

    connections: int = 8  # per account and data center, shared by all processes that use the same store
    initial_window: int = 2  # parts in flight per connection at the start
    max_window: int = 3  # parts in flight per connection at most
    max_memory: int = 24 << 20  # bytes in flight or being written, of all files of the process
    part_seconds: float = 60.0  # timeout for one part; it grows with each retry
    max_tries: int = 8  # per part, not counting flood waits
    max_flood_seconds: float = 60.0  # a longer flood wait ends the download with `Retryable`
    idle_seconds: float = 60.0  # unused connections are closed after this time
    turn: Callable[[], Awaitable[None]] | None = None  # waits until a part may be decrypted


class Connection:
    """One connection to a data center. It connects on the first request, and again after it was lost."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[MtprotoSender]],
        on_timeout: Callable[[MtprotoSender], None],
        window: Window,
    ) -> None:
        self._connect = connect
        self._on_timeout = on_timeout
        self._slots = FairSemaphore(lambda: window.size)
        self._lock = asyncio.Lock()
        self._sender: MtprotoSender | None = None
        self._backoff = Backoff()
        self.users = 0  # number of files that use it

    @property
    def load(self) -> int:
        """Number of requests in flight or waiting to be sent."""
        return self._slots.demand

    async def call(
        self,
        request: TLRequest,
        seconds: float,
        before_send: Callable[[], Awaitable[None]] | None = None,
        *,
        urgent: bool = False,
    ) -> Any:
        """The reply to one request. A connection that fails or exceeds `seconds` is closed.

        `before_send` runs just before the request is sent, which may be long after the call, but sooner if
        `urgent`.
        """
        async with self._slots.slot(urgent=urgent):
            sender = await self._open_sender()
            if before_send:
                await before_send()
            try:
                return await with_timeout(seconds, sender.send(request))
            except NETWORK as error:
                # Several requests in flight may fail; only the first one still finds its sender in use.
                if isinstance(error, TimeoutError) and self._sender is sender:
                    self._on_timeout(sender)
                await self._drop(sender)
                raise

    async def close(self) -> None:
        """Close the connection now; the next request opens it again."""
        if self._sender is not None:
            await self._drop(self._sender)

    async def _open_sender(self) -> MtprotoSender:
        async with self._lock:
            if self._sender is None or not is_usable(self._sender):
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
        await abort(sender)


@dataclass(eq=False, slots=True)
class _Lease:
    """Up to `count` connections that one file uses."""

    count: int
    connections: list[Connection] = field(default_factory=list)


class ConnectionPool:
    """The connections of one account to one data center."""

    def __init__(
        self,
        client: MtprotoClient,
        dc_id: int,
        folder: SessionFolder,
        limits: PoolLimits,
        store: TelegramStore | None = None,
    ) -> None:
        self.flood_clock = FloodClock()
        self.window = Window(limits.initial_window, limits.max_window)
        self.generation = 0  # of the key for a data center that is not the account's own
        self._client = client
        self._dc_id = dc_id
        self._folder = folder
        self._limits = limits
        self.share = limits.connections  # number of the account's connections for this process, at least 1
        self._connections = [
            Connection(self._connect, self._avoid_address, self.window) for _ in range(limits.connections)
        ]
        self._leases: list[_Lease] = []
        self._shared_account = SharedAccount(
            store, client.session.user_id, dc_id, self.flood_clock, self._apply_share
        )
        self._salt = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @contextmanager
    def lease(self, count: int) -> Iterator[list[Connection]]:
        """Up to `count` connections for one file, at least one: those with the fewest users. The list changes
        when the share of this process changes. Unused connections stay open for `PoolLimits.idle_seconds`."""
        lease = _Lease(count)
        self._cancel_idle_timer()
        self._shared_account.transfer_started()
        self._leases.append(lease)
        self._assign(lease)
        try:
            yield lease.connections
        finally:
            self._leases.remove(lease)
            for connection in lease.connections:
                connection.users -= 1
            self._shared_account.transfer_ended()
            if not self._leases:
                loop = asyncio.get_running_loop()
                self._idle_timer = loop.call_later(self._limits.idle_seconds, self._start_closing)

    def parts_in_flight(self, count: int) -> int:
        """The number of parts that a file with up to `count` connections should have in flight at the moment.

        Large files share what the connections carry at first, because parts that arrive out of order wait in
        memory, and so that those of a slow storage leave memory to the others. One part more each keeps the
        connections busy while others are written."""
        parts = min(count, self.share) * self.window.size
        large = sum(lease.count > 1 for lease in self._leases)
        if large < 2 or count == 1:
            return parts
        shared = min(parts, self.share * self._limits.initial_window)
        return min(parts, -(-shared // large) + 1)

    def flood(self, seconds: float) -> None:
        """Record a flood wait, for all processes that use the account."""
        self._shared_account.flood(seconds)

    async def close(self) -> None:
        """Close all connections and leave the share of this process to the others."""
        self._cancel_idle_timer()
        await self._shared_account.close()
        await self._disconnect_all()

    @property
    def is_bot(self) -> bool:
        """Whether the account is a bot."""
        return self._client.is_bot

    @property
    def is_home(self) -> bool:
        """Whether this is the account's own data center, whose key is the login."""
        return self._dc_id == self._client.home_dc

    async def renew_key(self, generation: int) -> None:
        """Replace the key of `generation`, which the data center no longer knows: the next connection makes
        one."""
        if generation == self.generation:
            self.generation += 1
            self._folder.forget_key(self._client.name, self._dc_id)
            await self._disconnect_all()

    def _assign(self, lease: _Lease) -> None:
        candidates = sorted(self._connections[: self.share], key=lambda each: each.users)
        lease.connections[:] = candidates[: lease.count]
        for connection in lease.connections:
            connection.users += 1

    async def _apply_share(self) -> None:
        """Distribute the connections again if the number of processes has changed. A connection in excess is
        closed once its parts in flight have arrived."""
        share = max(1, self._limits.connections // self._shared_account.processes)
        if share != self.share:
            self.share = share
            for connection in self._connections:
                connection.users = 0
            for lease in self._leases:
                self._assign(lease)
        await asyncio.gather(*(each.close() for each in self._connections[share:] if not each.load))

    async def _disconnect_all(self) -> None:
        """Close all connections; they open again when used."""
        await asyncio.gather(*(each.close() for each in self._connections))

    def _cancel_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _start_closing(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._disconnect_all())

    async def _connect(self) -> MtprotoSender:
        login = self._client.session.login(0, "")
        key = login.key if self.is_home else self._folder.load_key(self._client.name, self._dc_id, login)
        return await (self._open_connection(key) if key else self._import(login))

    def _avoid_address(self, sender: MtprotoSender) -> None:
        """After a timeout, try other addresses first when reconnecting."""
        self._client.data_centers.address_book.mark_failed((sender._connection._ip, sender._connection._port))

    async def _import(self, login: Login) -> MtprotoSender:
        """Create a key for this data center and copy the account's authorization to it, once per machine:
        Telegram soon demands waits of minutes if the authorization is exported for each connection."""
        async with self._folder.lock(self._client.name):
            key = self._folder.load_key(self._client.name, self._dc_id, login)
            if key is None:
                exported = await self._client.call(functions.auth.ExportAuthorizationRequest(self._dc_id))
                query = functions.auth.ImportAuthorizationRequest(exported.id, exported.bytes)
                sender = await self._open_connection(None, query)
                self._folder.save_key(self._client.name, self._dc_id, login, sender.auth_key.key)
                return sender
        # Outside the lock, so that the other connections need not wait.
        return await self._open_connection(key)

    async def _open_connection(self, key: bytes | None, query: TLRequest | None = None) -> MtprotoSender:
        """A connection that has sent the initial request. Without `key` it creates a new one."""

        async def connect(address: Address, seconds: float) -> MtprotoSender:
            return await self._open_connection_at(address, seconds, key, query)

        sender = await self._client.data_centers.connect(self._dc_id, Purpose.FILES, connect)
        self._salt = sender.salt
        return sender

    async def _open_connection_at(
        self, address: Address, seconds: float, key: bytes | None, query: TLRequest | None
    ) -> MtprotoSender:
        loggers = self._client.loggers
        # A salt belongs to a key. The data center corrects the salt of a key that was replaced.
        sender = MtprotoSender(key, self._salt if key else 0, loggers=loggers, connect_timeout=seconds)
        connection = TcpConnection(*address, self._dc_id, loggers=loggers, proxy=self._client.settings.proxy)
        connection.turn = self._limits.turn
        try:
            await wait_connected(sender, sender.connect(connection), seconds)
            first = self._client.initial_request(query or functions.help.GetConfigRequest())
            await with_timeout(seconds, sender.send(first))
            await self._shared_account.wait_for_first_exchange()  # to respect flood waits of other processes
        except BaseException:
            await abort(sender)
            raise
        return sender


async def abort(sender: MtprotoSender) -> None:
    """Close a connection without waiting for the other side."""
    if sender._connection is not None:
        sender._connection.abort()
    await disconnect(sender, sender.disconnect())
