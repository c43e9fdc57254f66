"""A data center: listening ports and the connections to them."""

import asyncio
import hashlib

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from saveany.sandbox.connection import ClientConnection
from saveany.sandbox.handlers import RequestContext
from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.model import MessageEvent
from saveany.sandbox.shared_state import SharedState

HOST = "127.0.0.1"


class DataCenter:
    """One data center, on one or several listening ports."""

    def __init__(self, id_: int, shared: SharedState, rsa: RSAPrivateKey | None = None) -> None:
        self.id = id_
        self.shared = shared
        self.rsa = rsa or shared.key_store.rsa
        self._salts = 0  # number of salts so far
        self.change_salt()
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], ClientConnection] = {}

    async def start(self, port: int, host: str = HOST, *, fixed: bool = True) -> int:
        """Listen on another port and return it; 0 selects a free one. If the port is taken, a free one is
        used; with `fixed` this raises `OSError` instead."""
        try:
            server = await asyncio.start_server(self._accept, host, port)
        except OSError:
            if fixed or not port:
                raise
            server = await asyncio.start_server(self._accept, host, 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def unplug(self) -> None:
        """Close the first port and all connections; the other ports stay open."""
        self._servers.pop(0).close()
        for connection in self.connections:
            connection.drop()
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Close all ports and connections."""
        while self._servers:
            self._servers.pop().close()
        for connection in self.connections:
            connection.drop()
        await asyncio.gather(*self._tasks)

    def change_salt(self) -> None:
        """Accept only a new salt from now on; clients learn it when they use the old one."""
        digest = hashlib.sha256(b"salt %d %d" % (self.id, self._salts)).digest()
        self.salt = int.from_bytes(digest[:8], "little", signed=True)
        self._salts += 1

    @property
    def connections(self) -> list[ClientConnection]:
        """The open connections."""
        return list(self._tasks.values())

    def context(self, key: StoredKey, events: list[MessageEvent]) -> RequestContext:
        """The context for a handler; the events that the request causes are appended to `events`."""
        shared = self.shared
        addresses = (self.id, shared.home, shared.addresses, shared.options)
        return RequestContext(
            shared.world, shared.key_store, shared.broadcaster, key, *addresses, shared.cdn, events
        )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._servers:  # accepted at the moment of `stop`
            writer.transport.abort()
            return
        connection = ClientConnection(self, next(self.shared.connection_numbers), reader, writer)
        task = asyncio.create_task(connection.run())
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)
