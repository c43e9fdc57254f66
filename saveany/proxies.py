"""Proxy URLs in the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_LOOKS = (
    "must look like socks5://user:password@host:1080 or http://host:3128 (also socks4://, https://); in user "
    "and password write % as %25, : as %3A, / as %2F, ? as %3F, # as %23"
)
_MTPROTO = "is an MTProto proxy, which only Telegram's own apps can use; use a SOCKS5 or HTTP proxy"
_APP_LINK = "is a link for Telegram's own apps; write the proxy as socks5://user:password@host:port"

#: Scheme of the URL -> protocol.
_PROTOCOLS = {
    "socks5": "socks5",
    "socks5h": "socks5",
    "socks4": "socks4",
    "socks4a": "socks4",
    "http": "http",
    "https": "http",
}


@dataclass(frozen=True, slots=True)
class ProxyUrl:
    """Address and protocol of a proxy."""

    protocol: str  # socks5, socks4 or http
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False  # on the connection to the proxy


@lru_cache(maxsize=16)
def parse(url: str) -> ProxyUrl:
    """The proxy at `url`. Raises `ValueError` with the reason, which does not repeat the URL."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_LOOKS) from None
    if problem := _for_apps(parts.scheme, host or "", parts.path):
        raise ValueError(problem)
    if parts.scheme not in _PROTOCOLS or not host or not port or parts.path.strip("/") or parts.query:
        raise ValueError(_LOOKS)
    return ProxyUrl(
        _PROTOCOLS[parts.scheme],
        host,
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        tls=parts.scheme == "https",
    )


def _for_apps(scheme: str, host: str, path: str) -> str:
    """The reason to reject a proxy link for Telegram's own apps (tg://proxy?…, https://t.me/proxy?…)."""
    kind = ""
    if scheme in ("mtproto", "mtproxy"):
        kind = "proxy"
    elif scheme == "tg":
        kind = host
    elif host.removeprefix("www.") in ("t.me", "telegram.me", "telegram.dog"):
        kind = path.strip("/")
    return {"proxy": _MTPROTO, "socks": _APP_LINK}.get(kind, "")
