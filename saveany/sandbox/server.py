"""The data centres: listening ports that share one world, one vault, one set of faults and counters."""

import asyncio
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from telethon.crypto import AuthKey
from telethon.sessions import StringSession
from telethon.tl import types as tl

from saveany.sandbox import samples
from saveany.sandbox.broadcast import UpdateBroadcaster
from saveany.sandbox.calls import CallCounters
from saveany.sandbox.cdn import CDN_DC, Cdn
from saveany.sandbox.connection import ClientConnection
from saveany.sandbox.faults import Faults
from saveany.sandbox.handlers import RequestContext
from saveany.sandbox.handlers.auth import LOGIN_CODE
from saveany.sandbox.key_store import KeyStore, StoredKey, pem
from saveany.sandbox.message_boxes import MessageEvent
from saveany.sandbox.world import World

HOST = "127.0.0.1"


@dataclass
class Shared:
    """What all data centres of a sandbox have in common."""

    home: int  # the data centre of every account
    world: World
    vault: KeyStore
    faults: Faults
    counters: CallCounters
    news: UpdateBroadcaster
    addresses: dict[int, tuple[str, int]] = field(default_factory=dict)
    options: list[Any] = field(default_factory=list)  # TL dcOption: other addresses that clients are told of
    cdn: Cdn | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # of connections


class DataCenter:
    """One data centre, on one or several listening ports."""

    def __init__(self, id_: int, shared: Shared, rsa: RSAPrivateKey | None = None) -> None:
        self.id = id_
        self.shared = shared
        self.rsa = rsa or shared.vault.rsa
        self._salts = 0  # how many there have been
        self.change_salt()
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], ClientConnection] = {}

    async def start(self, port: int, host: str = HOST, *, fixed: bool = True) -> int:
        """Listen on one more port, 0 for a free one, and return it. If the port is taken, listen on a free
        one unless it is `fixed`; raises `OSError` then."""
        try:
            server = await asyncio.start_server(self._accept, host, port)
        except OSError:
            if fixed or not port:
                raise
            server = await asyncio.start_server(self._accept, host, 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def unplug(self) -> None:
        """Close the first port, so that only the others are left, and every connection."""
        self._servers.pop(0).close()
        for connection in self.connections:
            connection.drop()
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Close the ports and every connection."""
        for server in self._servers:
            server.close()
        for connection in self.connections:
            connection.drop()
        await asyncio.gather(*self._tasks)

    def change_salt(self) -> None:
        """From now on accept another salt only, which clients learn when they use the old one."""
        digest = hashlib.sha256(b"salt %d %d" % (self.id, self._salts)).digest()
        self.salt = int.from_bytes(digest[:8], "little", signed=True)
        self._salts += 1

    @property
    def connections(self) -> list[ClientConnection]:
        """The clients that are connected now."""
        return list(self._tasks.values())

    def context(self, key: StoredKey, events: list[MessageEvent]) -> RequestContext:
        """What a handler needs to know besides the request; `events` grows by what it makes happen."""
        shared = self.shared
        places = (self.id, shared.home, shared.addresses, shared.options)
        return RequestContext(shared.world, shared.vault, shared.news, key, *places, shared.cdn, events)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ClientConnection(self, next(self.shared.numbers), reader, writer)
        task = asyncio.create_task(connection.run())
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)


class Sandbox:
    """A Telegram of its own, on loopback, in this process: `async with Sandbox() as sandbox`.

    With a `state` folder it remembers its keys, logins and ports, so that clients of an earlier run go on.
    The first of `dcs` is the home of every account, and listens on `port` if that is given.
    """

    def __init__(self, state: Path | None = None, dcs: Sequence[int] = (2, 4), port: int = 0) -> None:
        self._state = state
        self._port = port
        self._ids = dcs
        self.dc_id = dcs[0]
        self.world = World()
        self.faults = Faults(self.world)
        self.counters = CallCounters()
        self.news = UpdateBroadcaster(self.world)
        self.samples = samples.fill(self.world, self.faults, self.dc_id, dcs[-1])
        self.bot_token = samples.BOT.token
        self.phone = samples.USER.phone
        self.login_code = LOGIN_CODE

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = self._state or Path(stack.enter_context(TemporaryDirectory(prefix="saveany-sandbox-")))
            vault = KeyStore(folder)
            self.world.go_on(vault.count_run())
            shared = self._shared = Shared(
                self.dc_id, self.world, vault, self.faults, self.counters, self.news
            )
            self.centers = {id_: DataCenter(id_, shared) for id_ in self._ids}
            ports = vault.ports() | ({self.dc_id: self._port} if self._port else {})
            for id_, center in self.centers.items():
                fixed = bool(self._port) and id_ == self.dc_id
                shared.addresses[id_] = (HOST, await center.start(ports.get(id_, 0), fixed=fixed))
                stack.push_async_callback(center.stop)
            vault.save_ports({id_: port for id_, (_, port) in shared.addresses.items()})
            stack.callback(self.world.store.close)
            self._running = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def listen(self, dc: int, host: str = HOST, **flags: Any) -> tuple[str, int]:
        """Let a data centre listen at another address too, and tell clients of it; `flags` are those of TL
        `dcOption`, such as `media_only`."""
        address = (host, await self.centers[dc].start(0, host))
        self.advertise(dc, *address, **flags)
        return address

    async def add_silence(self, dc: int, **flags: Any) -> None:
        """Tell clients of another address of a data centre, at which they can connect and hear nothing."""

        async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1 << 16):
                pass
            writer.close()

        server = await asyncio.start_server(ignore, HOST, 0)
        self._running.callback(server.close)
        self.advertise(dc, *server.sockets[0].getsockname(), **flags)

    async def open_cdn(self, *files: int) -> Cdn:
        """Send clients that can follow there to a CDN for these files."""
        rsa = self._shared.vault.cdn_rsa()
        self.centers[CDN_DC] = DataCenter(CDN_DC, self._shared, rsa)
        self._running.push_async_callback(self.centers[CDN_DC].stop)
        await self.listen(CDN_DC, cdn=True)
        cdn = self._shared.cdn = Cdn(rsa, pem(rsa), set(files), set(files))
        return cdn

    def advertise(self, dc: int, host: str, port: int, **flags: Any) -> None:
        """Tell clients of an address, whether anybody listens there or not."""
        self._shared.options.append(
            tl.DcOption(dc, host, port, this_port_only=True, ipv6=":" in host or None, **flags)
        )

    def renew_sessions(self, account: int | None = None) -> None:
        """Let every connection, or those of an account, begin a new session, as when the service restarts:
        nothing is pushed until the client asks for something."""
        for center in self.centers.values():
            for connection in center.connections:
                if connection.key and account in (None, connection.key.account):
                    connection.renew_session()

    @property
    def address(self) -> str:
        """`host:port` of the home data centre."""
        host, port = self._shared.addresses[self.dc_id]
        return f"{host}:{port}"

    @property
    def addresses(self) -> dict[int, tuple[str, int]]:
        """Host and port of every data centre."""
        return dict(self._shared.addresses)

    @property
    def public_key(self) -> str:
        """The RSA key that clients must know, as PEM."""
        return self._shared.vault.public_key

    @property
    def public_key_file(self) -> Path:
        """A file with `public_key`; it goes away with a sandbox that has no state folder."""
        return self._shared.vault.public_key_file

    @property
    def user_session(self) -> str:
        """A Telethon string session of the sample user."""
        return self.session(samples.USER.id)

    @property
    def person_session(self) -> str:
        """One of the sample person, who writes to bots."""
        return self.session(samples.PERSON.id)

    def session(self, account: int) -> str:
        """A Telethon string session that is logged in as an account, with the address inside."""
        session = StringSession()
        session.set_dc(self.dc_id, *self._shared.addresses[self.dc_id])
        session.auth_key = AuthKey(self._shared.vault.session_key(account, self.dc_id))
        return str(session.save())
