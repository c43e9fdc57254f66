"""The HTTP clients with real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from saveany.errors import InvalidInput
from saveany.net.client import describe, guarded_client, plain_client
from saveany.net.guard import AddressGuard
from tests.fixtures.tcp import tcp_server
from tests.unit.net.servers import FakeDns, certificate, serving


def loopback(*answers: list[str]) -> tuple[AddressGuard, FakeDns]:
    """A guard that allows loopback, where every name has the scripted addresses."""
    dns = FakeDns(*(answers or (["127.0.0.1"],)))
    return AddressGuard([ip_network("127.0.0.0/8")], resolver=dns), dns


async def test_an_allowed_host_is_requested_by_name_and_resolved_once() -> None:
    guard, dns = loopback(["127.0.0.1"], ["10.0.0.1"])
    async with serving() as server, guarded_client(guard, timeout=5) as client:
        answer = await client.post(f"http://hook.example:{server.port}/path?x=1", content=b"{}")
        assert (answer.status_code, answer.text) == (200, "ok")
        assert answer.url.host == "hook.example"
        assert "POST /path?x=1 HTTP/1.1" in server.requests[0]
        assert f"host: hook.example:{server.port}" in server.requests[0].lower()
    assert dns.asked == ["hook.example"]


async def test_name_that_changes_to_a_private_address_is_refused() -> None:
    dns = FakeDns(["93.184.216.34"], ["127.0.0.1"])
    guard = AddressGuard(resolver=dns)
    async with serving() as trap, guarded_client(guard, timeout=5) as client:
        url = f"http://rebound.example:{trap.port}/"
        guard.check_url(url)
        assert [str(address) for address in await guard.resolve("rebound.example", trap.port)] == [
            "93.184.216.34"
        ]
        with pytest.raises(InvalidInput, match=r"127\.0\.0\.1/32"):
            await client.post(url)
        assert trap.connections == 0
    assert dns.asked == ["rebound.example"] * 2


async def test_next_address_is_tried_when_one_is_dead() -> None:
    guard, _ = loopback(["127.0.0.2", "127.0.0.1"])
    async with serving() as server, guarded_client(guard, timeout=5) as client:
        assert (await client.post(f"http://hook.example:{server.port}/", content=b"x")).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog answers")
async def test_silent_address_leaves_time_for_the_next() -> None:
    guard, _ = loopback(["127.0.0.2", "127.0.0.1"])
    async with serving() as server, guarded_client(guard, timeout=2) as client:
        with ExitStack() as sockets:
            full = sockets.enter_context(socket.socket())
            full.bind(("127.0.0.2", server.port))
            full.listen(0)
            for _ in range(3):  # the backlog takes one or two; from then on the kernel drops every SYN
                waiting = sockets.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.2", server.port))
            started = asyncio.get_running_loop().time()
            assert (await client.get(f"http://hook.example:{server.port}/")).text == "ok"
            assert 0.9 < asyncio.get_running_loop().time() - started < 1.9  # not the whole timeout


async def test_slow_link_is_not_taken_for_a_dead_one() -> None:
    timeout, size = 0.5, 32 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left:
            left -= len(await reader.read(1 << 18))
            await asyncio.sleep(0.01)  # takes more than the timeout for all, much less for a piece
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with tcp_server(serve) as server, plain_client(timeout=timeout) as client:
        started = asyncio.get_running_loop().time()
        answer = await client.put(server.url(), content=bytes(size), timeout=httpx.Timeout(5, write=timeout))
        assert answer.status_code == 200
        assert asyncio.get_running_loop().time() - started > timeout


async def test_every_address_dead_is_a_connect_error() -> None:
    guard, _ = loopback(["127.0.0.2", "127.0.0.3"])
    async with serving() as server, guarded_client(guard, timeout=5) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(f"http://hook.example:{server.port}/")
        assert str(describe(caught.value)) == "the connection was refused"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    guard, _ = loopback()
    async with serving() as trap:
        head = (
            f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{trap.port}/\r\nContent-Length: 0\r\n\r\n"
        )
        async with (
            serving(head.encode()) as server,
            guarded_client(guard, timeout=5) as guarded,
            plain_client(timeout=5) as plain,
        ):
            assert (await guarded.post(f"http://hook.example:{server.port}/")).status_code == status
            assert (await plain.post(f"http://127.0.0.1:{server.port}/")).status_code == status
        assert trap.connections == 0


async def test_environment_and_cookies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, _ = loopback()
    async with serving() as proxy, serving() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for client in (guarded_client(guard, timeout=5), plain_client(timeout=5)):
            async with client:
                await client.get(f"http://127.0.0.1:{server.port}/")
                await client.get(f"http://127.0.0.1:{server.port}/")
        assert proxy.connections == 0
        assert len(server.requests) == 4
        assert not any("cookie" in request.lower() for request in server.requests)


async def test_guarded_connections_are_not_shared_between_names() -> None:
    guard, _ = loopback()
    async with serving() as server, guarded_client(guard, timeout=5) as client:
        await client.get(f"http://one.example:{server.port}/")
        await client.get(f"http://two.example:{server.port}/")
        assert server.connections == 2


async def test_plain_client_reaches_loopback() -> None:
    async with serving() as server, plain_client(timeout=5) as client:
        assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"


async def test_tls_uses_the_host_name_and_checks_the_certificate(tmp_path: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    guard, _ = loopback()
    async with serving(tls=context) as server, guarded_client(guard, timeout=5) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(f"https://hook.example:{server.port}/?token=secret")
    assert names == ["hook.example"]
    assert str(describe(caught.value)).startswith("the certificate is not valid: self")


async def test_a_slow_resolver_times_out() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with guarded_client(AddressGuard(resolver=never), timeout=0.05) as client:
        with pytest.raises(httpx.ConnectTimeout) as caught:
            await client.get("http://hook.example/")
    assert str(describe(caught.value)) == "the server could not be reached in time"


async def test_an_unknown_name_is_a_connect_error() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with guarded_client(AddressGuard(resolver=unknown), timeout=5) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("http://hook.example/?token=secret")
    assert str(describe(caught.value)) == "the host name cannot be found"


async def test_broken_replies_are_described() -> None:
    guard, _ = loopback()
    async with (
        serving(b"220 smtp.example ESMTP\r\n\r\n") as server,
        guarded_client(guard, timeout=5) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await client.get(f"http://hook.example:{server.port}/?token=secret")
    assert str(describe(caught.value)) == "the server's reply is not valid HTTP"


async def test_silent_server_is_described() -> None:
    guard, _ = loopback()
    async with serving(b"") as server, guarded_client(guard, timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout) as caught:
            await client.get(f"http://hook.example:{server.port}/?token=secret")
    assert str(describe(caught.value)) == "the server did not reply in time"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidInput("The URL names no host."), "The URL names no host."),
        (httpx.WriteTimeout("x"), "the server did not accept the request in time"),
        (httpx.PoolTimeout("x"), "too many requests are under way"),
        (httpx.ConnectError("https://a/?token=secret"), "the server cannot be reached"),
        (httpx.ReadError("https://a/?token=secret"), "the connection broke"),
        (httpx.UnsupportedProtocol("ftp://a/?token=secret"), "the URL must begin with http:// or https://"),
        (httpx.InvalidURL("https://a/?token=secret"), "the URL is not valid"),
        (RuntimeError("https://a/?token=secret"), "the request failed"),
    ],
)
def test_descriptions_contain_no_library_text(error: Exception, text: str) -> None:
    assert str(describe(error)) == text
