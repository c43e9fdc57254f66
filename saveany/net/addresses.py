"""Addresses of clients, as they are counted for limits."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def network_of(host: str) -> str:
    """The key under which a client is counted: its IPv4 address, or the /64 network of its IPv6 address, of
    which every customer of a provider has all addresses. Anything else stands for itself."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address.packed[:8].hex())
    return host
