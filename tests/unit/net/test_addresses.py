"""Addresses of clients."""

from __future__ import annotations

from saveany.net.addresses import network_of


def test_an_ipv6_network_counts_as_one_address() -> None:
    one, two = network_of("2001:db8::1"), network_of("2001:db8::2:3")
    assert one == two
    assert one != network_of("2001:db8:0:1::1")


def test_an_ipv4_address_counts_by_itself_however_it_is_written() -> None:
    assert network_of("192.0.2.1") == network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("") == ""
