"""Outgoing TCP connections: direct, or through the operator's proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from saveany import proxies
from saveany.net import trust, upstream
from saveany.net.guard import Address
from saveany.net.upstream import Streams

#: Seconds within which a connection must be open.
CONNECT_SECONDS = 15.0
#: Bytes that a connection buffers in each direction; large buffers need fewer system calls.
AHEAD = 256 << 10
#: The reason for a proxy that does not respond in time.
STALLED = "the proxy does not answer in time"


class ProxyFailed(ConnectionError):
    """The operator's proxy failed. The text contains the reason, but not its password."""


async def dial(
    addresses: Sequence[Address], port: int, proxy: str = "", timeout: float | None = CONNECT_SECONDS
) -> Streams:
    """Connect to the first of `addresses` that accepts, within `timeout` seconds for all.

    Raises `OSError`: that of the last address, `TimeoutError`, or `ProxyFailed`. `proxy` is the URL of a
    SOCKS or HTTP proxy, which is handed the address and resolves nothing. One that cannot reach an address
    (of IPv6, often) is asked for the next.
    """
    share = timeout and timeout / len(addresses)  # so that a dead address leaves time for the next one
    for address in addresses[:-1]:
        try:
            return await connect(str(address), port, proxy, share)
        except OSError:
            continue
    return await connect(str(addresses[-1]), port, proxy, share)


async def connect(host: str, port: int, proxy: str = "", timeout: float | None = CONNECT_SECONDS) -> Streams:
    """Connect to a host by name or address. A proxy, if configured, resolves the name.

    Raises `OSError`, which includes `TimeoutError` and `ProxyFailed`, and nothing else. The caller sets no
    time limit of its own around this, which would hide that it was the proxy that did not answer.
    """
    try:
        async with asyncio.timeout(timeout):
            return await (_through(proxy, host, port) if proxy else _straight(host, port))
    except TimeoutError as error:
        if proxy:
            raise ProxyFailed(STALLED) from error
        raise


async def _straight(host: str, port: int, tls: ssl.SSLContext | None = None) -> Streams:
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=AHEAD)
    except UnicodeError as error:  # a label of the name is empty or too long
        raise OSError("the host name is not valid") from error
    writer.transport.set_write_buffer_limits(AHEAD)
    return reader, writer


async def _through(url: str, host: str, port: int) -> Streams:
    try:
        proxy = proxies.parse(url)
    except ValueError as error:
        raise ProxyFailed(f"`proxy` in the configuration {error}") from None
    try:
        streams = await _straight(proxy.host, proxy.port, trust.shared_context() if proxy.tls else None)
    except ssl.SSLCertVerificationError as error:
        raise ProxyFailed(f"the proxy's certificate is not valid: {trust.explained(error)}") from error
    except OSError as error:
        raise ProxyFailed("the proxy cannot be reached") from error
    try:
        await upstream.ask(proxy, streams, host, port)
    except BaseException as error:
        streams[1].transport.abort()
        if isinstance(error, Exception):
            raise ProxyFailed(_why(error)) from error
        raise
    return streams


def _why(error: Exception) -> str:
    """Why a proxy that was reached failed. No reply of a proxy counts as a bug of ours."""
    if isinstance(error, upstream.ProxyRefused):
        return f"the proxy refuses: {error}"
    if isinstance(error, ValueError):
        return "the proxy cannot be asked: its user name or password is too long, or the host is not valid"
    if isinstance(error, OSError | EOFError):
        return "the proxy hangs up"
    return "the proxy's answer makes no sense"
