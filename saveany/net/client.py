"""HTTP clients for requests that leave this service.

Neither follows redirects, keeps cookies or reads proxies and credentials from the environment. Their errors
are those of httpx; `describe` puts them into words.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from saveany.errors import InvalidInput
from saveany.net.guard import Address, AddressGuard


def guarded_client(guard: AddressGuard, *, timeout: float) -> httpx.AsyncClient:
    """A client for URLs that users gave: it reaches only what `guard` lets through.

    The name is resolved once per request and the connection goes to the address that was checked; Host and
    TLS still speak of the name. Raises `InvalidInput` for a refused URL or address. `timeout` is in seconds,
    for each of: connect, send, each read.
    """
    return _client(_GuardedTransport(guard), timeout)


def plain_client(*, timeout: float) -> httpx.AsyncClient:
    """The same without guard, for the operator's own URLs."""
    return _client(httpx.AsyncHTTPTransport(trust_env=False), timeout)


def describe(error: BaseException) -> str:
    """Why a request failed, in words for a user; never the URL, which may hold secrets."""
    if isinstance(error, InvalidInput):
        return error.message
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not valid: {cause.verify_message}"
        if text := next((text for kind, text in _REASONS if isinstance(cause, kind)), ""):
            return text
    return "the request failed"


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "the TLS handshake failed"),
    (socket.gaierror, "the host name cannot be found"),
    (ConnectionRefusedError, "the connection was refused"),
    (httpx.ConnectTimeout, "the server could not be reached in time"),
    (httpx.ReadTimeout, "the server did not answer in time"),
    (httpx.WriteTimeout, "the server did not take the request in time"),
    (httpx.PoolTimeout, "too many requests are under way"),
    (httpx.ConnectError, "the server cannot be reached"),
    (httpx.NetworkError, "the connection broke"),
    (httpx.RemoteProtocolError, "the server's answer is not valid HTTP"),
    (httpx.UnsupportedProtocol, "the URL must begin with http:// or https://"),
    (httpx.InvalidURL, "the URL is not valid"),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The root cause first: it says most. (httpcore raises `from None`, which leaves the context.)"""
    if earlier := error.__cause__ or error.__context__:
        yield from _chain(earlier)
    yield error


def _client(transport: httpx.AsyncBaseTransport, timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Resolves, checks, and hands the request on with the checked address in place of the name.

    Connections are not kept: the pool knows them by address, and one that was made for a name must not
    serve another name of the same address.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._http = httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_connections=100, max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._guard.check_url(str(request.url))
        timeout = request.extensions.get("timeout", {})
        addresses = await self._resolve(request.url, timeout.get("connect"))
        if timeout.get("connect"):  # a share for each, so that a dead address leaves time for the next
            timeout = {**timeout, "connect": timeout["connect"] / len(addresses)}
        for address in addresses[:-1]:
            try:
                return await self._http.handle_async_request(_pinned(request, address, timeout))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._http.handle_async_request(_pinned(request, addresses[-1], timeout))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _resolve(self, url: httpx.URL, timeout: float | None) -> list[Address]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            async with asyncio.timeout(timeout):
                return await self._guard.resolve(url.raw_host.decode("ascii"), port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("the host name was not resolved in time") from error
        except OSError as error:
            raise httpx.ConnectError("the host name cannot be found") from error


def _pinned(request: httpx.Request, address: Address, timeout: dict[str, float | None]) -> httpx.Request:
    name = request.url.raw_host.decode("ascii")
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "timeout": timeout, "sni_hostname": name},
    )
