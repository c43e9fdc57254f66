"""Runs the API until a signal stops it."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from types import FrameType

import httpx
from fastapi import FastAPI
from uvicorn.config import Config as ServerConfig
from uvicorn.server import Server

from saveany.api.app import create_app
from saveany.api.connections import Connections, HttpConnection, connection_limit
from saveany.api.health import INSTANCE
from saveany.config import Config
from saveany.config.values import local_address
from saveany.errors import ConfigError
from saveany.logs import get_logger
from saveany.loops import Signal
from saveany.store import open_store
from saveany.supervisor import report_working

#: Seconds that running requests have to finish after a stop signal; event streams end at once.
DRAIN_SECONDS = 10

log = get_logger("saveany.api")


async def serve(config: Config, url: str) -> None:
    """Serve the API on the store at `url` until SIGTERM or SIGINT; a second signal stops it at once.

    Raises `ConfigError` if the port is taken or the store cannot be used.
    """
    # Imported by this process, not before it is forked: sharing the memory would save nothing.
    from saveany.catalogue.catalogue import Catalogue

    with bind(config.api.host, config.api.port) as sock:
        store = await open_store(url)
        catalogue = Catalogue.of(config, store)
        try:
            await catalogue.open()
            report_working()
            log.info("api_started", url=_url(sock))
            app = create_app(config, store, catalogue)
            app.state.instance = await store.instance()
            await ApiServer(app, connection_limit(config.api.max_connections)).serve(sockets=[sock])
        finally:
            await catalogue.close()
            await store.db.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError`, which says what to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and running_instance(host, port) is not None:
            problem = other_instance_error(port)
        elif error.errno == errno.EADDRINUSE:
            problem = f"port {port} is used by another program; choose another with --port or api.port"
        elif error.errno == errno.EACCES:
            problem = f"port {port} needs root privileges; choose a port from 1024 with --port or api.port"
        else:
            problem = (
                f"cannot listen on {host}, port {port} ({error.strerror or error}); see api.host and api.port"
            )
        raise ConfigError(problem) from error
    # For all its connections: asyncio sets it only if a socket names its protocol, which this one does not.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def running_instance(host: str, port: int) -> str | None:
    """The id of the SaveAny that serves this address (see `Store.instance`); None if none does."""
    url = httpx.URL(scheme="http", host=local_address(host), port=port, path="/health")
    try:
        reply = httpx.get(url, timeout=2, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return str(reply.headers[INSTANCE]) if INSTANCE in reply.headers else None


def other_instance_error(port: int) -> str:
    """The error message for a port that another SaveAny uses."""
    return f"another SaveAny is using port {port}; stop it, or choose another port with --port or api.port"


#: Longer than the 5 seconds after which httpx and other clients drop an idle connection: a server that
#: closes first breaks the request that a client is just sending.
_KEEP_ALIVE_SECONDS = 9


#: Seconds between two checks of all connections, as long as there are any.
_TICK_SECONDS = 1.0


class ApiServer(Server):
    """uvicorn with limited connections, event streams that end when it stops, and our own signal handlers."""

    def __init__(self, app: FastAPI, max_connections: int = 2048) -> None:
        proxies = list(app.state.services.config.api.trusted_proxies)
        super().__init__(
            ServerConfig(
                app,
                http=HttpConnection,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies,
                lifespan="on",
                timeout_graceful_shutdown=DRAIN_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self._app = app
        self._wake_up = Signal()
        self.server_state: Connections = Connections(max_connections, self._begin)

    async def main_loop(self) -> None:
        """Wait for a stop signal; uvicorn looks for one ten times a second. Once a second, while there are
        connections, renew the date in responses and close connections that are too slow."""
        while not await self.on_tick(0):
            self.server_state.sweep()
            await self._wake_up.wait(_TICK_SECONDS if self.server_state.is_busy else None)

    def _begin(self) -> None:
        """There is a first connection. Its responses need a date, which is that of the last connection."""
        date = formatdate(usegmt=True).encode()
        self.server_state.default_headers = [(b"date", date), *self.config.encoded_headers]
        self._wake_up.send()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and let running requests finish."""
        self._app.state.services.hub.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully; the second time at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._wake_up.send()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals within this context. uvicorn's handlers end the process too early."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
