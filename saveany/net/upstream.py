"""Handshakes with the operator's proxy: SOCKS5 (RFC 1928, 1929), SOCKS4a, CONNECT (RFC 9110).

Nothing is read beyond the proxy's reply, because the bytes after it come from the server.
"""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from saveany.proxies import ProxyUrl
from saveany.texts import Field, Text

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_SOCKS5_REFUSALS: Final = {
    1: Text("it has failed"),
    2: Text("it is not allowed"),
    3: Text("the network is unreachable"),
    4: Text("the host is unreachable"),
    5: Text("the connection was refused"),
    6: Text("the time to live expired"),
    7: Text("it does not connect anywhere"),
    8: Text("it does not know this kind of address"),
}
_NO_LOGIN, _BY_PASSWORD, _NO_METHOD = 0, 2, 0xFF
#: Type of the address in a reply -> its length in bytes. A name begins with its length.
_ADDRESS_BYTES: Final = {1: 4, 4: 16}
_WRONG_LOGIN: Final = Text("it does not accept the user name or the password")
_MAX_REASON = 100


class ProxyRefused(Exception):
    """The proxy refuses the connection; `text` is its reason, or ours."""

    def __init__(self, text: str | Text, **fields: Field) -> None:
        self.text = text if isinstance(text, Text) else Text(text, fields)
        super().__init__(str(self.text))


async def handshake(proxy: ProxyUrl, streams: Streams, host: str, port: int) -> None:
    """Request a connection to a host from the proxy. Raises `ProxyRefused`, `EOFError`, `OSError`,
    `ValueError` for a host or login that its protocol cannot express, and `asyncio.LimitOverrunError` for an
    endless reply."""
    await {"socks5": _socks5, "socks4": _socks4, "http": _http}[proxy.protocol](proxy, *streams, host, port)


async def _socks5(
    proxy: ProxyUrl, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    login = proxy.user or proxy.password
    writer.write(bytes([5, 2, _NO_LOGIN, _BY_PASSWORD] if login else [5, 1, _NO_LOGIN]))
    version, method = await reader.readexactly(2)
    if version != 5:
        raise ProxyRefused("its reply is not SOCKS5")
    if method == _BY_PASSWORD and login:
        writer.write(b"\x01" + _with_length(proxy.user) + _with_length(proxy.password))
        if (await reader.readexactly(2))[1]:
            raise ProxyRefused(_WRONG_LOGIN)
    elif method != _NO_LOGIN:
        if method != _NO_METHOD:
            raise ProxyRefused("its reply is not SOCKS5")
        if login:
            raise ProxyRefused("it requires another login method")
        raise ProxyRefused("it requires a user name and a password")
    writer.write(b"\x05\x01\x00" + _encoded(host) + struct.pack("!H", port))
    version, refusal = await reader.readexactly(2)  # some proxies send no more when they refuse
    if version != 5:
        raise ProxyRefused("its reply is not SOCKS5")
    if refusal:
        if refusal in _SOCKS5_REFUSALS:
            raise ProxyRefused(_SOCKS5_REFUSALS[refusal])
        raise ProxyRefused("code {code}", code=refusal)
    _, kind = await reader.readexactly(2)
    await reader.readexactly((_ADDRESS_BYTES.get(kind) or (await reader.readexactly(1))[0]) + 2)


async def _socks4(
    proxy: ProxyUrl, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    address = _literal(host)
    if isinstance(address, IPv6Address):
        raise ProxyRefused("SOCKS4 does not support IPv6 addresses")
    number = address.packed if address else b"\x00\x00\x00\x01"  # means that the name follows
    name = b"" if address else host.encode("idna") + b"\x00"
    writer.write(struct.pack("!BBH", 4, 1, port) + number + proxy.user.encode() + b"\x00" + name)
    version, code = (await reader.readexactly(8))[:2]
    if version not in (0, 4):
        raise ProxyRefused("its reply is not SOCKS4")
    if code != 0x5A:
        if code in (0x5C, 0x5D):
            raise ProxyRefused(_WRONG_LOGIN)
        raise ProxyRefused("it does not connect to this host")


async def _http(
    proxy: ProxyUrl, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    where = f"[{host}]:{port}" if isinstance(_literal(host), IPv6Address) else f"{host}:{port}"
    login = ""
    if proxy.user or proxy.password:
        basic = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        login = f"Proxy-Authorization: Basic {basic}\r\n"
    writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{login}\r\n".encode("ascii"))
    head = await reader.readuntil(b"\r\n\r\n")
    version, _, reply = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if not version.startswith("HTTP/1.") or not reply[:3].isdecimal():
        raise ProxyRefused("its reply is not HTTP")
    if not reply.startswith("2"):
        reason = "".join(filter(str.isprintable, reply)).strip()[:_MAX_REASON]
        if reply.startswith("407"):
            raise ProxyRefused("{reply} ({reason})", reply=reason, reason=_WRONG_LOGIN)
        raise ProxyRefused(Text(reason))


def _with_length(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _encoded(host: str) -> bytes:
    """A host in the format of SOCKS5."""
    address = _literal(host)
    if address is None:
        name = host.encode("idna")
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(host)
    return None
