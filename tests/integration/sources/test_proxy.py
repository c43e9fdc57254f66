"""The guarded proxy of child processes, used by real programs."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from saveany.net.guard import AddressGuard
from saveany.net.proxy import GuardedProxy
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site, serve
from tests.fixtures.tcp import connection, tcp_server
from tests.unit.net.servers import FakeDns, certificate, serving

DATA = random.Random(2).randbytes((3 << 20) + 5)


@pytest.fixture
def dns() -> FakeDns:
    return FakeDns(["127.0.0.1"])


@pytest.fixture
def guard(dns: FakeDns) -> AddressGuard:
    return AddressGuard([ip_network("127.0.0.1/32")], resolver=dns)


@pytest.fixture
async def proxy(guard: AddressGuard) -> AsyncIterator[GuardedProxy]:
    async with GuardedProxy(guard) as proxy:
        yield proxy


async def run_program(*command: str | Path, env: dict[str, str] | None = None) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of a program; it is killed after the test."""
    process = await asyncio.create_subprocess_exec(
        program(str(command[0])),
        *map(str, command[1:]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    try:
        output, complaints = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output, complaints
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def curl(proxy: GuardedProxy, *arguments: str | Path) -> tuple[int, bytes, bytes]:
    return await run_program(
        "curl", "-sS", "--max-time", "20", "--noproxy", "", *arguments, env={"all_proxy": proxy.url}
    )


async def raw_reply(port: int, request: bytes) -> bytes:
    """The complete reply to the given bytes."""
    async with connection("127.0.0.1", port) as (reader, writer):
        writer.write(request)
        return await reader.read()


def port_of(proxy: GuardedProxy) -> int:
    return int(proxy.url.rpartition(":")[2])


def login_of(proxy: GuardedProxy) -> bytes:
    user = proxy.url.removeprefix("http://").partition("@")[0]
    return b"Proxy-Authorization: Basic " + b64encode(user.encode()) + b"\r\n"


@pytest.mark.parametrize("tunnel", [False, True])
async def test_curl_fetches_a_file_by_name(
    site: Site, proxy: GuardedProxy, dns: FakeDns, tunnel: bool
) -> None:
    site.pages["/a/b%20c.bin?x=1"] = Page(DATA)
    url = f"http://files.example:{site.port}/a/b%20c.bin?x=1"
    code, output, complaints = await curl(proxy, *(["--proxytunnel"] if tunnel else []), url)
    assert (code, complaints) == (0, b"")
    assert output == DATA
    assert dns.asked == ["files.example"]
    assert proxy.connections == 1
    assert proxy.passed >= len(DATA)
    _, headers = site.asked[0]
    assert headers["host"] == f"files.example:{site.port}"
    assert not any(name.startswith("proxy") for name in headers)


@pytest.mark.parametrize(
    "command",
    [
        ["aria2c", "--no-conf", "--quiet", "--split=4", "--dir={folder}", "--out=a.mp4", "{url}"],
        ["yt-dlp", "--ignore-config", "--no-cache-dir", "--quiet", "--output={folder}/a.mp4", "{url}"],
    ],
    ids=["aria2c", "yt-dlp"],
)
async def test_programs_that_sources_start_use_the_proxy(
    site: Site, proxy: GuardedProxy, tmp_path: Path, command: list[str]
) -> None:
    site.pages["/a.mp4"] = Page(DATA, headers={"Content-Type": "video/mp4"})
    url = f"http://files.example:{site.port}/a.mp4"  # a name that only the proxy can resolve
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "http_proxy": proxy.url}
    code, _, complaints = await run_program(
        *(part.format(folder=tmp_path, url=url) for part in command), env=env
    )
    assert (code, complaints) == (0, b"")
    assert (tmp_path / "a.mp4").read_bytes() == DATA


async def test_tls_is_tunneled_with_the_host_name(proxy: GuardedProxy, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with serving(tls=context) as server:
        code, output, complaints = await curl(proxy, "--cacert", pem, f"https://hook.example:{server.port}/x")
    assert (code, output, complaints) == (0, b"ok", b"")


async def test_a_kept_connection_can_be_used_for_several_hosts(site: Site, proxy: GuardedProxy) -> None:
    """A kept connection to the proxy must not reach the host of an earlier request."""
    async with serve() as other, httpx.AsyncClient(proxy=proxy.url, trust_env=False) as client:
        site.pages["/"], other.pages["/"] = Page(b"one"), Page(b"two")
        answers = [
            (await client.get(f"http://x.example:{each.port}/")).text
            for _ in range(50)
            for each in (site, other)
        ]
    assert answers == ["one", "two"] * 50


async def test_a_server_that_keeps_its_connection_open_is_supported(proxy: GuardedProxy) -> None:
    async with serving() as server, httpx.AsyncClient(proxy=proxy.url, trust_env=False) as client:
        for _ in range(3):
            answer = await client.get(
                f"http://x.example:{server.port}/", headers={"Connection": "keep-alive"}
            )
            assert (answer.text, answer.headers["connection"]) == ("ok", "close")
        assert server.connections == 3
        assert all("keep-alive" not in request.lower() for request in server.requests)


async def test_request_bodies_are_forwarded(proxy: GuardedProxy, tmp_path: Path) -> None:
    got = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        got.set_result((head, await reader.readexactly(len(DATA))))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        await writer.drain()

    (tmp_path / "data").write_bytes(DATA)
    async with tcp_server(take) as server:
        url = f"http://x.example:{server.port}/up"
        code, output, _ = await curl(proxy, "--data-binary", f"@{tmp_path}/data", url)
    assert (code, output) == (0, b"done")
    head, body = await got
    assert head.startswith(b"POST /up HTTP/1.1\r\n")
    assert body == DATA


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("host", "word"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("0x7f000002", "127.0.0.2"),
        ("[::1]", "::1"),
        ("169.254.169.254", "169.254.169.254"),
    ],
)
async def test_requests_to_refused_addresses_are_refused(
    proxy: GuardedProxy, scheme: str, host: str, word: str
) -> None:
    async with serving() as trap:
        code, output, complaints = await curl(proxy, f"{scheme}://{host}:{trap.port}/")
        assert trap.connections == 0
    if scheme == "http":
        assert code == 0
        assert word in output.decode()
    else:
        assert code != 0
        assert b"403" in complaints
    (refusal,) = proxy.refusals
    assert word in str(refusal)


async def test_names_that_resolve_to_refused_addresses_are_refused(site: Site) -> None:
    for answers in (["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["10.0.0.1"]):
        guard = AddressGuard([ip_network("127.0.0.1/32")], resolver=FakeDns(answers))
        async with GuardedProxy(guard) as proxy:
            _, output, _ = await curl(
                proxy,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                site.url("/").replace("127.0.0.1", "x.example"),
            )
            assert output == b"403"
            assert answers[-1] in str(proxy.refusals[0])
    assert site.asked == []


async def test_redirects_to_refused_addresses_are_refused(site: Site, proxy: GuardedProxy) -> None:
    async with serving() as trap:
        site.pages["/a"] = Page(status=302, headers={"Location": f"http://127.0.0.2:{trap.port}/secret"})
        _, output, _ = await curl(proxy, "-L", site.url("/a"))
        assert trap.connections == 0
    assert "127.0.0.2" in output.decode()


async def test_refusals_are_recorded_once_each_and_limited(proxy: GuardedProxy) -> None:
    async with httpx.AsyncClient(proxy=proxy.url, trust_env=False) as client:
        for n in [*range(30), 29]:
            assert (await client.get(f"http://10.1.{n}.1/")).status_code == 403
    assert len(proxy.refusals) == 20
    assert "10.1.10.1" in str(proxy.refusals[0])
    assert "10.1.29.1" in str(proxy.refusals[-1])


async def test_only_our_child_process_may_use_the_proxy(site: Site, proxy: GuardedProxy) -> None:
    site.pages["/"] = Page(b"secret")
    stranger = f"GET {site.url('/')} HTTP/1.1\r\n".encode()
    for login in (b"", b"Proxy-Authorization: Basic c2F2ZWFueTo=\r\n", b"Proxy-Authorization:\r\n"):
        answer = await raw_reply(port_of(proxy), stranger + login + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 407 ")
        assert b"Proxy-Authenticate: Basic" in answer
    assert site.asked == []
    assert proxy.url not in repr(proxy)
    assert (await raw_reply(port_of(proxy), stranger + login_of(proxy) + b"\r\n")).endswith(b"secret")


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET / HTTP/1.1", "", 400),
        ("GET https://x.example/ HTTP/1.1", "", 400),
        ("GET ftp://x.example/ HTTP/1.1", "", 400),
        ("DELETE http://x.example/ HTTP/1.1", "", 400),
        ("hello", "", 400),
        ("GET http://me:secret@x.example/ HTTP/1.1", "", 403),
        ("CONNECT x.example:0 HTTP/1.1", "", 403),
        ("CONNECT x.example:99999 HTTP/1.1", "", 403),
        ("CONNECT  HTTP/1.1", "", 400),
        ("CONNECT x.example:1 HTTP/1.1", "", 502),
        ("GET http://x.example:1 HTTP/1.1", "", 502),
        ("POST http://x.example:1/ HTTP/1.1", "Transfer-Encoding: chunked\r\n", 411),
        ("POST http://x.example:1/ HTTP/1.1", "Content-Length: -1\r\n", 400),
        ("POST http://x.example:1/ HTTP/1.1", f"Content-Length: {'9' * 5000}\r\n", 400),
        ("GET http://x.example:1/ HTTP/1.1", f"X: {'x' * 70_000}\r\n", 431),
    ],
)
async def test_malformed_requests_are_refused(
    proxy: GuardedProxy, request_line: str, headers: str, status: int
) -> None:
    request = f"{request_line}\r\n".encode() + login_of(proxy) + headers.encode() + b"\r\n"
    async with connection("127.0.0.1", port_of(proxy)) as (reader, writer):
        writer.write(request)
        assert (await reader.readline()).split()[1] == str(status).encode()


async def test_an_unknown_host_is_reported() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError

    async with GuardedProxy(AddressGuard(resolver=unknown)) as proxy:
        request = b"GET http://x.example/ HTTP/1.1\r\n" + login_of(proxy) + b"\r\n"
        assert (await raw_reply(port_of(proxy), request)).startswith(b"HTTP/1.1 502 ")
        assert proxy.refusals == []


async def test_a_reply_that_is_not_http_becomes_a_502_reply(proxy: GuardedProxy) -> None:
    for garbage in (b"", b"220 smtp.example ESMTP\r\n", b"x" * 100_000):

        async def serve_garbage(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, garbage: bytes = garbage
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(garbage)

        async with tcp_server(serve_garbage) as server:
            request = f"GET http://x.example:{server.port}/ HTTP/1.1\r\n".encode()
            answer = await raw_reply(port_of(proxy), request + login_of(proxy) + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 502 ")


async def test_a_100_continue_is_forwarded_before_the_reply(proxy: GuardedProxy) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: 5\r\n\r\n"
    async with serving(answer) as server, connection("127.0.0.1", port_of(proxy)) as (reader, writer):
        request = f"GET http://x.example:{server.port} HTTP/1.1\r\n".encode() + login_of(proxy) + b"\r\n"
        writer.write(request)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        assert server.requests[0].startswith("GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("tunnel", [False, True])
async def test_a_broken_server_connection_is_broken_for_the_client_too(
    proxy: GuardedProxy, tunnel: bool
) -> None:
    """Without a length, only a reset distinguishes a truncated file from a complete one."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + DATA[: 1 << 20])
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with tcp_server(break_off) as server:
        code, output, _ = await curl(proxy, *(["--proxytunnel"] if tunnel else []), server.url("/a"))
    assert code == 56  # failure in receiving
    assert len(output) <= 1 << 20


@pytest.mark.parametrize("method", ["GET http://127.0.0.1:{}/", "CONNECT 127.0.0.1:{}"])
async def test_a_silent_connection_is_closed(guard: AddressGuard, method: str) -> None:
    async with (
        serving(b"") as server,
        GuardedProxy(guard, silence=0.2) as proxy,
        connection("127.0.0.1", port_of(proxy)) as (reader, writer),
    ):
        writer.write(f"{method.format(server.port)} HTTP/1.1\r\n".encode() + login_of(proxy) + b"\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)


async def test_a_client_that_hangs_up_frees_the_server(proxy: GuardedProxy) -> None:

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        with suppress(ConnectionResetError):  # a polite end is as good
            assert not await reader.read(1)

    asked = asyncio.Event()
    async with tcp_server(silent) as server:
        async with connection("127.0.0.1", port_of(proxy)) as (_, writer):
            writer.write(f"GET {server.url('/')} HTTP/1.1\r\n".encode() + login_of(proxy) + b"\r\n")
            await asyncio.wait_for(asked.wait(), 5)
        await asyncio.wait_for(server.ended(), 5)


async def test_leaving_the_block_closes_all_connections(guard: AddressGuard) -> None:
    async with serving(b"") as server, AsyncExitStack() as stack:
        async with GuardedProxy(guard) as proxy:
            reader, writer = await stack.enter_async_context(connection("127.0.0.1", port_of(proxy)))
            writer.write(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode() + login_of(proxy) + b"\r\n")
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        with pytest.raises(ConnectionRefusedError):
            async with connection("127.0.0.1", port_of(proxy)):
                pass
