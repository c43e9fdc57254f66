"""HTTP clients for outgoing requests.

Neither follows redirects, keeps cookies or reads proxies and credentials from the environment. Their errors
are those of httpx; `describe` explains them to users.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from saveany.errors import InvalidInput
from saveany.net import trust
from saveany.net.dial import BUFFER_BYTES, CONNECT_SECONDS, ProxyFailed, dial
from saveany.net.guard import Address, AddressGuard, system_resolver
from saveany.net.upstream import Streams
from saveany.texts import Text


def guarded_client(guard: AddressGuard, *, timeout: float, proxy: str = "") -> httpx.AsyncClient:
    """A client for URLs from users: it connects only to addresses that `guard` permits.

    A name is resolved once per connection, which goes to the address that was checked, also through `proxy`
    (the URL of a SOCKS or HTTP proxy). Raises `InvalidInput` for a refused URL or address. `timeout` is in
    seconds, for each of: connect (at most `CONNECT_SECONDS`), send, each read.
    """
    return _client(_GuardedTransport(guard, proxy), timeout)


def plain_client(*, timeout: float) -> httpx.AsyncClient:
    """A client without a guard, for the operator's own URLs."""
    return _client(_Transport(_Network(_resolve, "")), timeout)


def is_offline(error: BaseException) -> bool:
    """Whether a request failed at the operator's proxy, and not at the server."""
    return any(isinstance(cause, ProxyFailed) for cause in _chain(error))


def describe(error: BaseException) -> Text:
    """Why a request failed, for a user. It never contains the URL, which may hold secrets."""
    if isinstance(error, InvalidInput):
        return error.text
    for cause in _chain(error):
        if isinstance(cause, ProxyFailed):
            return cause.text
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Text("the certificate is not valid: {reason}", {"reason": trust.explained(cause)})
        if text := next((text for kind, text in _REASONS if isinstance(cause, kind)), None):
            return text
    return Text("the request failed")


_REASONS: tuple[tuple[type[BaseException], Text], ...] = (
    (ssl.SSLError, Text("the TLS handshake failed")),
    (socket.gaierror, Text("the host name cannot be found")),
    (ConnectionRefusedError, Text("the connection was refused")),
    (httpx.ConnectTimeout, Text("the server could not be reached in time")),
    (httpx.ReadTimeout, Text("the server did not reply in time")),
    (httpx.WriteTimeout, Text("the server did not accept the request in time")),
    (httpx.PoolTimeout, Text("too many requests are under way")),
    (httpx.ConnectError, Text("the server cannot be reached")),
    (httpx.NetworkError, Text("the connection broke")),
    (httpx.RemoteProtocolError, Text("the server's reply is not valid HTTP")),
    (httpx.UnsupportedProtocol, Text("the URL must begin with http:// or https://")),
    (httpx.InvalidURL, Text("the URL is not valid")),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The chain of causes, the root cause first. httpcore raises `from None`, which keeps the context."""
    if earlier := error.__cause__ or error.__context__:
        yield from _chain(earlier)
    yield error


def _client(transport: httpx.AsyncBaseTransport, timeout: float) -> httpx.AsyncClient:
    return _GuardedClient(
        transport=transport,
        timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class _GuardedClient(httpx.AsyncClient):
    """httpx's client, with an httpx error for every invalid redirect."""

    def _build_redirect_request(self, request: httpx.Request, response: httpx.Response) -> httpx.Request:
        try:
            return super()._build_redirect_request(request, response)
        except (httpx.InvalidURL, ValueError) as error:  # for example a bad xn-- label
            raise httpx.RemoteProtocolError("it redirects to an invalid URL") from error


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's transport over our own connections."""

    def __init__(self, network: httpcore.AsyncNetworkBackend) -> None:
        # This context trusts nobody; `_Stream.start_tls` replaces it. A megabyte of certificates is loaded
        # when the first connection needs it, and not for each client.
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__(verify=unused, trust_env=False)
        # httpx has no option to replace the network backend, but httpcore, on which it is built, has one.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=unused,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5,
            network_backend=network,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, as httpx defines it."""
        try:
            return await super().handle_async_request(request)
        except asyncio.CancelledError:
            await self._close_orphans()
            raise

    async def _close_orphans(self) -> None:
        """Close a connection whose request was canceled while it was opened: httpcore would keep it open and
        count it, but never use it."""
        used = {id(each.connection) for each in self._pool._requests}
        for connection in self._pool.connections:
            if id(connection) not in used and not connection.is_idle() and not connection.is_closed():
                await connection.aclose()


class _GuardedTransport(_Transport):
    """Checks each URL before it is requested, and each address before a connection."""

    def __init__(self, guard: AddressGuard, proxy: str) -> None:
        super().__init__(_Network(guard.resolve, proxy))
        self._guard = guard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._guard.check_url(str(request.url))
        return await super().handle_async_request(request)


Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def _resolve(host: str, port: int) -> Sequence[Address]:
    """All addresses of a name, in the order that the system prefers."""
    return [ip_address(each) for each in await system_resolver(host, port)]


class _Network(httpcore.AsyncNetworkBackend):
    """A connection that is faster with large bodies than httpcore's own, which reads 64 KiB at a time."""

    def __init__(self, resolve: Resolve, proxy: str) -> None:
        self._resolve = resolve
        self._proxy = proxy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
            return _Stream(await dial(addresses, port, self._proxy, timeout))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """An asyncio stream with httpcore's interface."""

    def __init__(self, streams: Streams) -> None:
        self._reader, self._writer = streams

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """All bytes that have arrived, because httpcore requests few at a time."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                return await self._reader.read(max(max_bytes, 2 * BUFFER_BYTES))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write in pieces with a `timeout` each, so that a slow link does not count as dead."""
        with _mapped(httpcore.WriteTimeout, httpcore.WriteError):
            for start in range(0, len(buffer), BUFFER_BYTES):
                async with asyncio.timeout(timeout):
                    self._writer.write(memoryview(buffer)[start : start + BUFFER_BYTES])
                    await self._writer.drain()

    async def aclose(self) -> None:
        self._writer.transport.abort()  # a regular TLS shutdown would wait for the server
        await asyncio.sleep(0)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                async with asyncio.timeout(timeout):
                    await self._writer.start_tls(trust.http_context(), server_hostname=server_hostname)
            except BaseException:
                await self.aclose()
                raise
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of an idle connection: whether the server has closed it
            return self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(info)


@contextmanager
def _mapped(late: Callable[[str], Exception], broken: Callable[[str], Exception]) -> Iterator[None]:
    """Raise an httpcore error for everything that a connection raises, except a refusal of the guard. Event
    loops raise more than `OSError`, such as uvloop's `RuntimeError` for a connection that was just
    closed."""
    try:
        yield
    except InvalidInput:
        raise
    except TimeoutError as error:
        raise late("in time") from error
    except Exception as error:
        raise broken("it failed") from error
