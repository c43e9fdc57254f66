"""TCP connections that leave this service: straight, or through the operator's proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio.v2 import Proxy

from saveany.net.guard import Address

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Seconds until a connection must be there.
CONNECT_SECONDS = 15.0
#: Bytes that a connection reads ahead or writes behind: for big bodies, the system is asked less often.
AHEAD = 256 << 10

_TYPES = {
    "socks5": ProxyType.SOCKS5,
    "socks5h": ProxyType.SOCKS5,
    "socks4": ProxyType.SOCKS4,
    "http": ProxyType.HTTP,
    "https": ProxyType.HTTP,
}


class ProxyFailed(ConnectionError):
    """The operator's proxy does not do its work; says why, without its password."""


async def dial(
    addresses: Sequence[Address], port: int, proxy: str = "", timeout: float | None = CONNECT_SECONDS
) -> Streams:
    """Connect to the first of `addresses` that answers, in `timeout` seconds for all.

    Raises `OSError`: that of the last address, `TimeoutError`, or `ProxyFailed`. `proxy` is the URL of a
    SOCKS or HTTP proxy, which is handed the address and resolves nothing.
    """
    share = timeout and timeout / len(addresses)  # so that a dead address leaves time for the next
    for address in addresses[:-1]:
        try:
            return await _connect(str(address), port, proxy, share)
        except ProxyFailed:
            raise
        except OSError:
            continue
    return await _connect(str(addresses[-1]), port, proxy, share)


async def _connect(host: str, port: int, proxy: str, timeout: float | None) -> Streams:
    async with asyncio.timeout(timeout):
        if not proxy:
            reader, writer = await asyncio.open_connection(host, port, limit=AHEAD)
            writer.transport.set_write_buffer_limits(AHEAD)
            return reader, writer
        return await _through(proxy, host, port)


async def _through(proxy: str, host: str, port: int) -> Streams:
    way = _proxy(proxy)
    try:
        stream = await way.connect(host, port)
    except ProxyError as error:  # it answers, with a refusal
        raise ProxyFailed(f"the proxy refuses: {str(error)[:100]}") from error
    except OSError as error:
        raise ProxyFailed("the proxy cannot be reached") from error
    return stream.reader, stream.writer


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in _TYPES or not parts.hostname or not port:
        raise ProxyFailed("`proxy` in the configuration must look like socks5://user:password@host:1080")
    return Proxy(
        _TYPES[parts.scheme],
        parts.hostname,
        port,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        proxy_ssl=ssl.create_default_context() if parts.scheme == "https" else None,
    )
