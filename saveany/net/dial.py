"""Outgoing TCP connections: direct, or through the operator's proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from saveany import proxies
from saveany.net import trust, upstream
from saveany.net.guard import Address
from saveany.net.upstream import Streams
from saveany.texts import Field, Text

#: Seconds within which a connection must be open.
CONNECT_SECONDS = 15.0
#: Bytes that a connection buffers in each direction; large buffers need fewer system calls.
BUFFER_BYTES = 256 << 10
#: The reason for a proxy that does not reply in time.
STALLED = Text("the proxy does not reply in time")


class ProxyFailed(ConnectionError):
    """The operator's proxy failed. `text` is the reason; it does not contain its password."""

    def __init__(self, text: str | Text, **fields: Field) -> None:
        self.text = text if isinstance(text, Text) else Text(text, fields)
        super().__init__(str(self.text))


async def dial(
    addresses: Sequence[Address], port: int, proxy: str = "", timeout: float | None = CONNECT_SECONDS
) -> Streams:
    """Connect to the first of `addresses` that accepts, within `timeout` seconds for all.

    Raises `OSError`: that of the last address, `TimeoutError`, or `ProxyFailed`. `proxy` is the URL of a
    SOCKS or HTTP proxy, which gets the address and resolves nothing. If it cannot reach an address, which is
    common for IPv6, the next one is tried.
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

    Raises only `OSError`, which includes `TimeoutError` and `ProxyFailed`. The caller must not set a time
    limit of its own, which would hide that the proxy did not reply.
    """
    try:
        async with asyncio.timeout(timeout):
            return await (_connect_through(proxy, host, port) if proxy else _connect_directly(host, port))
    except TimeoutError as error:
        if proxy:
            raise ProxyFailed(STALLED) from error
        raise


async def _connect_directly(host: str, port: int, tls: ssl.SSLContext | None = None) -> Streams:
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=BUFFER_BYTES)
    except UnicodeError as error:  # a label of the name is empty or too long
        raise OSError("the host name is not valid") from error
    writer.transport.set_write_buffer_limits(BUFFER_BYTES)
    return reader, writer


async def _connect_through(url: str, host: str, port: int) -> Streams:
    try:
        proxy = proxies.parse(url)
    except ValueError as error:
        raise ProxyFailed("`proxy` in the configuration {reason}", reason=str(error)) from None
    try:
        streams = await _connect_directly(
            proxy.host, proxy.port, trust.shared_context() if proxy.tls else None
        )
    except ssl.SSLCertVerificationError as error:
        raise ProxyFailed(
            "the proxy's certificate is not valid: {reason}", reason=trust.explained(error)
        ) from error
    except OSError as error:
        raise ProxyFailed("the proxy cannot be reached") from error
    try:
        await upstream.handshake(proxy, streams, host, port)
    except BaseException as error:
        streams[1].transport.abort()
        if isinstance(error, Exception):
            raise ProxyFailed(_reason(error)) from error
        raise
    return streams


def _reason(error: Exception) -> Text:
    """Why a proxy that was reached failed. Whatever a proxy replies, it does not count as a bug of ours."""
    if isinstance(error, upstream.ProxyRefused):
        return Text("the proxy refuses: {reason}", {"reason": error.text})
    if isinstance(error, ValueError):
        return Text(
            "the proxy cannot be used: its user name or password is too long, or the host is not valid"
        )
    if isinstance(error, OSError | EOFError):
        return Text("the proxy closed the connection")
    return Text("the proxy's reply is not valid")
