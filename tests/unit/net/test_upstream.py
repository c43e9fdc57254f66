"""Working and broken proxies of every kind: a failure is always `ProxyFailed`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import httpx
import pytest

from saveany import proxies
from saveany.net import trust
from saveany.net.client import describe, guarded_client
from saveany.net.dial import ProxyFailed, connect, dial
from tests.fixtures.certificates import certificate
from tests.fixtures.proxies import BAD, Behavior, Http, ScriptedReplies, Socks4, Socks5, proxy
from tests.unit.net.servers import serving
from tests.unit.net.test_dial import loopback

LOOPBACK = [IPv4Address("127.0.0.1")]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PASSWORD, ENCODED = "p@ss: /wörd%", "p%40ss%3A%20%2Fw%C3%B6rd%25"


@pytest.fixture(autouse=True)
def restored_trust() -> Iterator[None]:
    yield
    trust.add(None)


async def answer(host: str, port: int, url: str) -> bytes:
    """The reply of a web server behind a proxy."""
    reader, writer = await connect(host, port, url, 10)
    with closing(writer):
        writer.write(REQUEST)
        said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 30)
    assert said.startswith(b"HTTP/1."), "not all that the proxy said was read, or too much"
    return said


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_proxy_raises_proxy_failed(name: str) -> None:
    behavior, said = BAD[name]
    async with proxy(behavior) as bad:
        with pytest.raises(ProxyFailed, match=f"^{said}") as caught:
            await dial(LOOPBACK, 9, bad.url(), 10)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
        guard, _ = loopback()
        async with guarded_client(guard, timeout=10, proxy=bad.url()) as client:
            with pytest.raises(httpx.ConnectError) as failed:
                await client.get("http://x.example/")
        assert str(describe(failed.value)) == str(caught.value)


@pytest.mark.parametrize(
    ("behavior", "login"),
    [
        (Socks5(), ""),
        (Socks5(), "not:wanted"),
        (Socks5(login=f"me:{PASSWORD}".encode()), f"me:{ENCODED}"),
        (Socks5(login=b"me@home:"), "me%40home"),
        (Socks5(login=b"me:raw@password"), "me:raw@password"),
        (Socks4(), ""),
        (Socks4(user="mé".encode()), "m%C3%A9"),
        (Http(), ""),
        (Http(login=f"me:{PASSWORD}".encode()), f"me:{ENCODED}"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_good_proxy_connects(behavior: Behavior, login: str, host: str) -> None:
    async with serving() as server, proxy(behavior) as good:
        assert await answer(host, server.port, good.url(login))
        assert good.connections == 1


async def test_an_https_proxy_needs_a_trusted_certificate(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    async with serving() as server, proxy(Http(login=b"me:x"), pem) as good:
        with pytest.raises(ProxyFailed, match=r"^the proxy's certificate is not valid: .*\[net\] ca_file"):
            await connect("127.0.0.1", server.port, good.url("me:x"))
        trust.add(Path(pem))
        assert await answer("127.0.0.1", server.port, good.url("me:x"))


async def test_tls_works_inside_the_tls_of_a_proxy(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    trust.add(Path(pem))
    guard, _ = loopback()
    async with (
        serving(tls=tls) as server,
        proxy(Http(), pem) as good,
        guarded_client(guard, timeout=10, proxy=good.url()) as client,
    ):
        assert (await client.get(f"https://127.0.0.1:{server.port}/")).text == "ok"


@pytest.mark.parametrize("scheme", ["socks5", "socks4", "http"])
async def test_a_proxy_that_stalls_times_out(scheme: str) -> None:
    async with proxy(ScriptedReplies((b"",), stalls=True, scheme=scheme)) as bad:
        with pytest.raises(ProxyFailed, match=r"^the proxy does not reply in time$"):
            await dial(LOOPBACK, 9, bad.url(), 0.05)


@pytest.mark.parametrize(("host", "login"), [("a" * 64 + ".example", ""), ("x", f"{'u' * 300}:x")])
async def test_hosts_that_a_proxy_protocol_cannot_express_are_refused(host: str, login: str) -> None:
    async with proxy(Socks5(login=b"me:x" if login else b"")) as good:
        with pytest.raises(ProxyFailed, match=r"^the proxy cannot be used"):
            await connect(host, 9, good.url(login))
    with pytest.raises(OSError, match="host name is not valid"):
        await connect("a" * 64 + ".example", 9)


async def test_socks4_does_not_support_ipv6() -> None:
    async with proxy(Socks4()) as good:
        with pytest.raises(ProxyFailed, match="does not support IPv6"):
            await connect("::1", 9, good.url())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mtproto://x:443", "MTProto"),
        ("tg://proxy?server=x&port=443&secret=ee", "MTProto"),
        ("https://t.me/proxy?server=x&port=443&secret=ee", "MTProto"),
        ("tg://socks?server=x&port=1080", "write the proxy as socks5://"),
        ("https://t.me/socks?server=x&port=1080", "write the proxy as socks5://"),
        ("socks5://x", "must look like"),
        ("socks5://x:99999", "must look like"),
        ("socks5://[::1:1080", "must look like"),
        ("http://me:a/b@x:3128", "must look like"),
        ("http://me:a#b@x:3128", "must look like"),
        ("x:1080", "must look like"),
        ("ftp://x:21", "must look like"),
    ],
)
def test_invalid_proxy_urls_are_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        proxies.parse(url)
    assert url not in str(caught.value)


def test_errors_and_repr_show_no_password() -> None:
    found = proxies.parse(f"socks5://me:{ENCODED}@x:1080")
    assert (found.user, found.password) == ("me", PASSWORD)
    assert PASSWORD not in repr(found)


class Socks5Without6(Socks5):
    """A SOCKS5 proxy without IPv6."""

    async def _host(self, reader: asyncio.StreamReader, kind: int) -> str:
        self.refusal = 8 if kind == 4 else 0
        return await super()._host(reader, kind)


@pytest.mark.parametrize("way", [Socks4(), Socks5Without6()], ids=["socks4", "socks5"])
async def test_the_next_address_is_tried_when_the_proxy_cannot_reach_one(way: Behavior) -> None:
    """Many proxies lack IPv6, whose addresses the system returns first."""
    async with serving() as server, proxy(way) as good:
        both: list[IPv4Address | IPv6Address] = [IPv6Address("::1"), IPv4Address("127.0.0.1")]
        _, writer = await dial(both, server.port, good.url())
        writer.close()
