"""The guard against server-side request forgery (SSRF): which addresses a URL from a user may reach.

Anyone who may create a task may give a webhook URL. Without a guard, that URL could lead to hosts that only
this service can reach: the router, a database, the metadata service of a cloud.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar

import httpx

from saveany.errors import InvalidInput
from saveany.texts import Field, Text

T = TypeVar("T")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
#: Resolves host and port to addresses in canonical form; raises `OSError` for an unknown name.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# IANA's special-purpose registries, and multicast. They are listed here because `is_global` in the standard
# library differs between patch releases.
_REFUSED_V4 = [
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network; loopback on Linux
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; metadata service of Alibaba
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # metadata service of Azure, although a public address
        "169.254.0.0/16",  # link-local; metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; metadata service of Oracle
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# The IPv6 internet is global unicast; loopback, ULA, link-local and multicast addresses lie outside of it.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = [
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: contains an IPv4 address, and is obsolete
        "3fff::/20",  # documentation
    )
]
# Private networks of homes and companies -> prefix length of the subnets that the advice suggests to allow.
_HOME_NETWORKS: dict[Network, int] = {
    IPv4Network("10.0.0.0/8"): 24,
    IPv4Network("100.64.0.0/10"): 24,
    IPv4Network("172.16.0.0/12"): 24,
    IPv4Network("192.168.0.0/16"): 24,
    IPv6Network("fc00::/7"): 64,
}
_NAT64 = IPv6Network("64:ff9b::/96")  # the last 32 bits are the IPv4 address

#: The name of the URL in errors.
_URL = Text("URL")
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, from the resolver of the system."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or too long
        raise OSError("the host name is not valid") from error
    return [str(sockaddr[0]) for *_, sockaddr in found]


class AddressGuard:
    """Permits URLs that lead to the public internet, or to a network in `allow`.

    Its refusals are `InvalidInput` and name what to add to `[net] allow`.
    """

    def __init__(
        self,
        allow: Iterable[Network] = (),
        resolver: Resolver = system_resolver,
        *,
        name: Text = _URL,
        field: str = "url",
    ) -> None:
        """`name` and `field` name the URL in the errors: in words, and as a field of the request."""
        self._allow = tuple(allow)
        self._resolver = resolver
        self._name = name
        self._field = field

    def check_url(self, url: str) -> None:
        """Check a URL without using the network.

        It must be http(s), have a host, and contain no user name or password. An address, in any notation,
        must be allowed. A host name passes: `resolve` checks it when it is used.
        """
        try:
            parsed = httpx.URL(url)
            host = parsed.host and parsed.raw_host.decode("ascii")  # `host` fails on bad xn-- labels
        except (httpx.InvalidURL, ValueError) as error:
            raise self._refused("The {url} is not a valid URL.") from error
        if parsed.scheme not in ("http", "https"):
            raise self._refused("The {url} must begin with http:// or https://.")
        if not host:
            raise self._refused("The {url} names no host.")
        if parsed.userinfo:
            raise self._refused("The {url} must not contain a user name or password.")
        if parsed.port is not None and not 0 < parsed.port <= 65535:
            raise self._refused("The {url} has a port that is not between 1 and 65535.")
        literal = self._literal(host)
        if literal is not None:
            self._check_address(literal)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """All permitted addresses of `host`; connect to these and no others.

        All of them must be allowed, because a client may choose any of them. Raises `OSError` when the name
        is unknown.
        """
        literal = self._literal(host)
        found = [] if literal else await self._resolver(host, port)
        addresses = [literal] if literal else [self._read(ip_address, text) for text in found]
        if not addresses:
            raise OSError("the host name has no address")
        for address in addresses:
            self._check_address(address)
        return list(dict.fromkeys(addresses))

    def _literal(self, host: str) -> Address | None:
        return self._read(_literal, host)

    def _read(self, read: Callable[[str], T], text: str) -> T:
        try:
            return read(text)
        except ValueError:
            raise self._refused("The {url} has a host that is neither a name nor an address.") from None

    def _check_address(self, address: Address) -> None:
        effective = _effective(address)
        if any(effective in network for network in self._allow) or _is_public(effective):
            return
        raise self._refused(
            "The {url} leads to {address}, which is not on the public internet. The operator can allow "
            'that in the configuration: [net] allow = ["{network}"].',
            address=str(effective),
            network=str(_network_of(effective)),
        )

    def _refused(self, template: str, **fields: Field) -> InvalidInput:
        return InvalidInput(template, field=self._field, url=self._name, **fields)


def is_refused_url(text: Text) -> bool:
    """Whether an error is the refusal of a URL by a guard."""
    return text.fields.get("url") == _URL


def _literal(host: str) -> Address | None:
    """The address that `host` denotes; None for a name. Raises `ValueError` if it is neither.

    `inet_aton` knows what resolvers know: 127.1, 0x7f.1, 017700000001, 2130706433.
    """
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")  # RFC 6761: always loopback
    if ":" in host:
        return ip_address(host.replace("%25", "%"))
    with suppress(OSError, ValueError):
        return IPv4Address(socket.inet_aton(host))
    if "%" in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        raise ValueError(f"not a host: {host}")
    return None


def _effective(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, otherwise the address itself, without a zone."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return IPv6Address(int(address))
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _network_of(address: Address) -> Network:
    """The network to allow for `address`: its subnet in a private network, otherwise only the address."""
    bits = next((bits for home, bits in _HOME_NETWORKS.items() if address in home), address.max_prefixlen)
    return ip_network(f"{address}/{bits}", strict=False)
