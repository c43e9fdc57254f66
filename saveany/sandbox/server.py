"""The sandbox: data centers that share one world, one key store, one set of faults and counters."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, cast

from telethon.crypto import AuthKey
from telethon.sessions import StringSession
from telethon.tl import types as tl

from saveany.sandbox import samples
from saveany.sandbox.broadcast import UpdateBroadcaster
from saveany.sandbox.calls import CallCounters
from saveany.sandbox.cdn import CDN_DC, Cdn
from saveany.sandbox.data_center import HOST, DataCenter
from saveany.sandbox.faults import Faults
from saveany.sandbox.handlers.auth import LOGIN_CODE
from saveany.sandbox.key_store import KeyStore, pem
from saveany.sandbox.shared_state import SharedState
from saveany.sandbox.world import World


class _Unresponsive(asyncio.Protocol):
    """Reads what clients send and never replies."""

    def __init__(self, clients: set[asyncio.Transport]) -> None:
        self._clients = clients

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = cast(asyncio.Transport, transport)
        self._clients.add(self._client)

    def connection_lost(self, error: Exception | None) -> None:
        self._clients.discard(self._client)


class Sandbox:
    """A small Telegram on loopback, in this process: `async with Sandbox() as sandbox`.

    With a `state` folder it keeps its keys, logins and ports, so that clients of an earlier run can continue.
    The first of `dcs` is the home data center of all accounts; it listens on `port`, if given.
    """

    def __init__(self, state: Path | None = None, dcs: Sequence[int] = (2, 4), port: int = 0) -> None:
        self._state = state
        self._port = port
        self._ids = dcs
        self.dc_id = dcs[0]
        self.world = World()
        self.faults = Faults(self.world)
        self.counters = CallCounters()
        self.broadcaster = UpdateBroadcaster(self.world)
        self.samples = samples.fill(self.world, self.faults, self.dc_id, dcs[-1])
        self.bot_token = samples.BOT.token
        self.phone = samples.USER.phone
        self.login_code = LOGIN_CODE

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = self._state or Path(stack.enter_context(TemporaryDirectory(prefix="saveany-sandbox-")))
            key_store = KeyStore(folder)
            self.world.continue_numbering(key_store.count_run())
            shared = self._shared = SharedState(
                self.dc_id, self.world, key_store, self.faults, self.counters, self.broadcaster
            )
            self.centers = {id_: DataCenter(id_, shared) for id_ in self._ids}
            ports = key_store.ports() | ({self.dc_id: self._port} if self._port else {})
            for id_, center in self.centers.items():
                fixed = bool(self._port) and id_ == self.dc_id
                shared.addresses[id_] = (HOST, await center.start(ports.get(id_, 0), fixed=fixed))
                stack.push_async_callback(center.stop)
            key_store.save_ports({id_: port for id_, (_, port) in shared.addresses.items()})
            stack.callback(self.world.store.close)
            self._running = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def listen(self, dc: int, host: str = HOST, **flags: Any) -> tuple[str, int]:
        """Let a data center listen on another address and announce it to clients. `flags` are those of TL
        `dcOption`, such as `media_only`."""
        address = (host, await self.centers[dc].start(0, host))
        self.advertise(dc, *address, **flags)
        return address

    async def add_unresponsive_address(self, dc: int, **flags: Any) -> None:
        """Announce another address of a data center that accepts connections but never replies."""
        clients = set[asyncio.Transport]()
        server = await asyncio.get_running_loop().create_server(lambda: _Unresponsive(clients), HOST, 0)

        def close() -> None:
            server.close()
            for client in clients:
                client.abort()

        self._running.callback(close)
        self.advertise(dc, *server.sockets[0].getsockname(), **flags)

    async def open_cdn(self, *files: int) -> Cdn:
        """Start a CDN and redirect clients that support it there for these files."""
        rsa = self._shared.key_store.cdn_rsa()
        self.centers[CDN_DC] = DataCenter(CDN_DC, self._shared, rsa)
        self._running.push_async_callback(self.centers[CDN_DC].stop)
        await self.listen(CDN_DC, cdn=True)
        cdn = self._shared.cdn = Cdn(rsa, pem(rsa), set(files), set(files))
        return cdn

    def advertise(self, dc: int, host: str, port: int, **flags: Any) -> None:
        """Announce an address to clients, whether a data center listens there or not."""
        self._shared.options.append(
            tl.DcOption(dc, host, port, this_port_only=True, ipv6=":" in host or None, **flags)
        )

    def renew_sessions(self, account: int | None = None) -> None:
        """Start new sessions on all connections, or on those of an account, as a restart of the service does:
        nothing is pushed until the client sends a request."""
        for center in self.centers.values():
            for connection in center.connections:
                if connection.key and account in (None, connection.key.account):
                    connection.renew_session()

    @property
    def address(self) -> str:
        """`host:port` of the home data center."""
        host, port = self._shared.addresses[self.dc_id]
        return f"{host}:{port}"

    @property
    def addresses(self) -> dict[int, tuple[str, int]]:
        """Host and port of every data center."""
        return dict(self._shared.addresses)

    @property
    def public_key(self) -> str:
        """The RSA key that clients must know, in PEM format."""
        return self._shared.key_store.public_key

    @property
    def public_key_file(self) -> Path:
        """A file with `public_key`; deleted with the sandbox unless it has a state folder."""
        return self._shared.key_store.public_key_file

    @property
    def user_session(self) -> str:
        """A Telethon string session of the sample user."""
        return self.session(samples.USER.id)

    @property
    def person_session(self) -> str:
        """A Telethon string session of the sample person, who writes to bots."""
        return self.session(samples.PERSON.id)

    def session(self, account: int) -> str:
        """A Telethon string session that is logged in to an account; it contains the address."""
        session = StringSession()
        session.set_dc(self.dc_id, *self._shared.addresses[self.dc_id])
        session.auth_key = AuthKey(self._shared.key_store.session_key(account, self.dc_id))
        return str(session.save())
