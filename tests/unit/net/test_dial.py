"""Connections through the configured proxy: working and broken HTTP and SOCKS proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import httpx
import pytest

from saveany.net.client import describe, guarded_client
from saveany.net.dial import ProxyFailed, dial
from saveany.net.guard import AddressGuard
from saveany.net.proxy import GuardedProxy
from tests.fixtures.proxies import Running, Socks5, proxy
from tests.unit.net.servers import FakeDns, certificate, serving

LOOPBACK = [IPv4Address("127.0.0.1")]


@asynccontextmanager
async def socks() -> AsyncIterator[tuple[Running, list[str]]]:
    """A SOCKS5 proxy with a password, and the addresses that it was asked for. All connections must end."""
    behavior = Socks5(login=b"me:secret word")
    async with proxy(behavior) as server:
        yield server, behavior.asked
        await asyncio.wait_for(server.ended(), 5)


def loopback(*answers: list[str]) -> tuple[AddressGuard, FakeDns]:
    dns = FakeDns(*(answers or (["127.0.0.1"],)))
    return AddressGuard([ip_network("127.0.0.1/32")], resolver=dns), dns


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_receives_the_checked_address(scheme: str) -> None:
    guard, dns = loopback()
    async with serving() as server, socks() as (far, asked):
        url = f"{scheme}://me:secret%20word@localhost:{far.port}"
        async with guarded_client(guard, timeout=5, proxy=url) as client:
            assert (await client.get(f"http://x.example:{server.port}/")).text == "ok"
        assert server.requests[0].lower().count(f"host: x.example:{server.port}") == 1
    assert asked == [f"127.0.0.1 {server.port}"]
    assert dns.asked == ["x.example"]


async def test_connections_through_an_http_proxy_work() -> None:
    guard, _ = loopback()
    async with serving() as server, GuardedProxy(guard) as proxy:
        async with guarded_client(guard, timeout=5, proxy=proxy.url) as client:
            for _ in range(2):
                assert (await client.get(f"http://x.example:{server.port}/")).text == "ok"
        assert proxy.connections == 1


async def test_the_guarded_proxy_uses_the_configured_proxy() -> None:
    guard, _ = loopback()
    async with serving() as server, socks() as (far, asked):
        upstream = f"socks5://me:secret%20word@127.0.0.1:{far.port}"
        async with (
            GuardedProxy(guard, upstream) as proxy,
            httpx.AsyncClient(proxy=proxy.url, trust_env=False) as client,
        ):
            assert (await client.get(f"http://x.example:{server.port}/")).text == "ok"
        assert asked == [f"127.0.0.1 {server.port}"]


async def test_tls_through_a_proxy_uses_the_host_name(tmp_path: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    guard, _ = loopback()
    async with serving(tls=context) as server, socks() as (far, _):
        url = far.url("me:secret%20word")
        async with guarded_client(guard, timeout=5, proxy=url) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get(f"https://hook.example:{server.port}/")
    assert names == ["hook.example"]
    assert str(describe(caught.value)).startswith("the certificate is not valid: self")


async def test_the_guard_applies_with_a_proxy() -> None:
    guard, _ = loopback(["127.0.0.2"])
    async with socks() as (far, asked):
        url = far.url("me:secret%20word")
        async with guarded_client(guard, timeout=5, proxy=url) as client:
            for host in ("x.example", "127.0.0.2", "10.0.0.1"):
                with pytest.raises(Exception, match="not on the public internet"):
                    await client.get(f"http://{host}/")
        assert asked == []


async def test_a_wrong_proxy_password_is_reported() -> None:
    async with socks() as (far, asked):
        with pytest.raises(ProxyFailed, match=r"^the proxy refuses: ") as caught:
            await dial(LOOPBACK, 1, far.url("me:wrong"))
        assert "wrong" not in str(caught.value)
        assert asked == []


async def test_a_refusal_by_an_http_proxy_is_reported() -> None:
    async with serving(b"HTTP/1.1 407 Login First\r\n\r\n") as proxy:
        with pytest.raises(ProxyFailed, match=r"^the proxy refuses: 407 Login First \(it does not accept "):
            await dial(LOOPBACK, 1, f"http://127.0.0.1:{proxy.port}")


async def test_an_unreachable_proxy_is_named_in_the_error() -> None:
    guard, _ = loopback()
    async with guarded_client(guard, timeout=5, proxy="http://me:secret@127.0.0.1:1") as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("http://x.example/")
    assert str(describe(caught.value)) == "the proxy cannot be reached"


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1:1", "socks5://", "127.0.0.1:1080", "http://h", "http://h:0x"]
)
async def test_an_invalid_proxy_url_is_refused(url: str) -> None:
    with pytest.raises(ProxyFailed, match="must look like socks5://"):
        await dial(LOOPBACK, 1, url)


async def test_a_silent_proxy_times_out() -> None:
    async with serving(b"") as proxy:
        with pytest.raises(ProxyFailed, match=r"^the proxy does not reply in time$"):
            await dial(LOOPBACK, 1, f"http://127.0.0.1:{proxy.port}", timeout=0.05)
