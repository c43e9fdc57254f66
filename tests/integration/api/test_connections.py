"""Limits of connections, especially unauthenticated ones: raw sockets with the real server."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, suppress
from itertools import repeat
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from saveany.api import connections
from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.service.uploads import UploadService
from saveany.store import Store
from tests.fixtures.tcp import connection
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, check_error, create, over_tcp, serving, url_of

HEALTH = b"GET /health HTTP/1.1\r\nHost: api\r\n"
BODY = b"POST /api/v1/tasks HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n"
TOKEN_LINE = f"Authorization: Bearer {TOKEN}\r\n".encode()


class Peer:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent = 0

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            self.sent += len(piece)

    async def flood(self, pieces: Iterable[bytes], most: int = 8 << 20) -> None:
        """Send until the server replies or disconnects; fails if it accepts `most` bytes."""
        with suppress(ConnectionError):
            for piece in pieces:
                await self.send(piece)
                assert self.sent < most, "the server takes anything"
                if self.reader._buffer or self.reader.at_eof():  # type: ignore[attr-defined] # no way to ask
                    return
                await asyncio.sleep(0)

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and body of the next answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
            body = json.loads(await self.reader.readexactly(length))
        return int(lines[0].split()[1]), body

    async def ended(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    @property
    def open(self) -> bool:
        return not self.reader.at_eof()


class Peers(AsyncExitStack):
    """Connections to one server, closed at the end."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__()
        self.port = httpx.URL(url_of(server)).port

    async def connect(self, address: str = "127.0.0.1") -> Peer:
        client = connection("127.0.0.1", self.port, local_addr=(address, 0))
        return Peer(*await self.enter_async_context(client))


@pytest.fixture
async def peers(server: ApiServer) -> AsyncIterator[Peers]:
    async with Peers(server) as peers:
        yield peers


def open_connections(server: ApiServer) -> int:
    return len(server.server_state.connections)


ENDLESS = {
    "a header": (HEALTH + b"X: ", b"x" * 16384),
    "headers": (HEALTH, b"X: y\r\n" * 1000),
    "the name of a header": (HEALTH, b"x" * 16384),
    "the path": (b"GET /", b"x" * 16384),
    "the method": (b"", b"G" * 16384),
    "empty lines": (b"", b"\r\n" * 8192),
    "trailers": (BODY + TOKEN_LINE + b"\r\n0\r\n", b"X: y\r\n" * 1000),
    "a trailer": (BODY + TOKEN_LINE + b"\r\n0\r\nX: ", b"x" * 16384),
    "the extension of a chunk": (BODY + TOKEN_LINE + b"\r\n1;x=", b"x" * 16384),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_requests_without_an_end_are_refused(peers: Peers, what: str) -> None:
    begin, piece = ENDLESS[what]
    peer = await peers.connect()
    await peer.send(begin)
    await peer.flood(repeat(piece))
    status, body = await peer.answer()
    assert status == body["code"]
    assert status in (400, 431)
    assert peer.sent < 2 << 20
    await peer.ended()


async def test_little_is_read_after_a_refusal(peers: Peers, server: ApiServer) -> None:
    """Buffers of the system take some megabytes; a server that reads on takes a hundred within a second."""
    peer = await peers.connect()
    await peer.send(HEALTH)
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            while peer.sent < 100 << 20:
                await peer.send(b"X: y\r\n" * 10_000)
    assert peer.sent < 50 << 20
    await until(lambda: open_connections(server) == 0)


@pytest.mark.parametrize(("count", "wanted"), [(98, 200), (99, 431)])
async def test_the_number_of_headers_is_limited(peers: Peers, count: int, wanted: int) -> None:
    peer = await peers.connect()
    await peer.send(HEALTH + b"Accept: */*\r\n" + b"X: y\r\n" * count + b"\r\n")
    assert (await peer.answer())[0] == wanted


@pytest.mark.parametrize(("size", "wanted"), [(30_000, 200), (66_000, 431)])
async def test_the_size_of_the_head_is_limited(peers: Peers, size: int, wanted: int) -> None:
    peer = await peers.connect()
    await peer.send(HEALTH + b"X: " + b"y" * size + b"\r\n\r\n")
    assert (await peer.answer())[0] == wanted


async def test_a_body_in_tiny_chunks_does_not_count_as_head(peers: Peers) -> None:
    peer = await peers.connect()
    body = b'{"a":' + b" " * 50_000 + b"1}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    await peer.send(BODY + TOKEN_LINE + b"Content-Type: application/json\r\n\r\n" + chunks)
    status, answer = await peer.answer()
    assert (status, answer["details"][0]["field"]) == (400, "user_id")


SLOW = {
    "nothing": (b"", b""),
    "the head": (b"GET /heal", b"h"),
    "empty lines": (b"\r\n", b"\r\n"),
    "a header": (HEALTH + b"X: ", b"y"),
    "the second head": (HEALTH + b"\r\n" + HEALTH, b"X"),
    "a body": (BODY + TOKEN_LINE + b"Content-Type: application/json\r\n\r\n", b"1\r\n \r\n"),
    "a body of a stranger": (BODY + b"\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("what", SLOW)
async def test_slow_requests_are_refused(peers: Peers, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.4)
    begin, drop = SLOW[what]
    peer = await peers.connect()
    await peer.send(begin)
    if what == "the second head":
        assert (await peer.answer())[0] == 200

    async def drip() -> None:
        with suppress(ConnectionError):
            while True:
                await peer.send(drop)
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert (await peer.answer())[0] == 408
    await peer.ended()
    dripping.cancel()


async def test_an_idle_connection_after_a_reply_is_closed_silently(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    peer = await peers.connect()
    await peer.send(HEALTH + b"\r\n")
    assert (await peer.answer())[0] == 200
    async with asyncio.timeout(20):
        assert await peer.reader.read() == b""


async def test_a_slow_reply_of_the_server_does_not_time_out_the_client(
    server: ApiServer, live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.05)
    task_id = await create(live)
    async with live.stream("GET", f"/api/v1/tasks/{task_id}/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: snapshot"
        for _ in range(3):
            server.server_state.sweep()
            await asyncio.sleep(0.1)
        await live.delete(f"/api/v1/tasks/{task_id}")
        assert "event: task.canceled" in [line async for line in lines]


async def test_a_body_that_the_server_does_not_read_yet_does_not_time_out(
    server: ApiServer, live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it looks for something first, such as the files that an export is about."""
    limits = ("HEAD_SECONDS", "BODY_SECONDS")
    usual = [getattr(connections, name) for name in limits]
    for name in limits:
        monkeypatch.setattr(connections, name, 0.05)
    check, may_read = UploadService.check, asyncio.Event()

    async def slow(*args: Any) -> None:
        await may_read.wait()
        await check(*args)

    monkeypatch.setattr(UploadService, "check", slow)
    upload = live.post("/api/v1/files", params={"name": "a.bin"}, content=b"x" * (512 << 10))
    sending = asyncio.create_task(upload)
    await until(lambda: any(each.flow.read_paused for each in server.server_state.connections))  # type: ignore[union-attr]  # all are HTTP
    for _ in range(3):
        await asyncio.sleep(0.1)
        server.server_state.sweep()
    for name, seconds in zip(limits, usual, strict=True):
        monkeypatch.setattr(connections, name, seconds)
    await asyncio.sleep(0.1)
    server.server_state.sweep()
    may_read.set()
    assert (await sending).status_code == 201


async def test_too_many_pipelined_requests_are_refused(peers: Peers, server: ApiServer) -> None:
    peer = await peers.connect()
    await peer.flood(repeat((HEALTH + b"\r\n") * 5000, 4))
    await peer.ended()
    assert server.server_state.total_requests < 100


async def test_a_few_pipelined_requests_are_answered(peers: Peers) -> None:
    peer = await peers.connect()
    await peer.send((HEALTH + b"\r\n") * 8)
    assert [await peer.answer() for _ in range(8)] == [(200, {"status": "ok"})] * 8


async def test_a_client_that_reads_no_replies_is_disconnected(
    peers: Peers, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", peers.port))
    with sock:

        async def gone() -> bool:
            with suppress(BlockingIOError, ConnectionError):
                sock.send(b"GET /openapi.json HTTP/1.1\r\nHost: api\r\n\r\n")
            return open_connections(server) == 0

        await until(gone)


@pytest.fixture
def few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNTRUSTED", 8)
    monkeypatch.setattr(connections, "MAX_UNTRUSTED_PER_ADDRESS", 5)


@pytest.mark.usefixtures("few_connections")
async def test_the_oldest_unauthenticated_connections_of_an_address_are_closed_first(
    peers: Peers, server: ApiServer, live: httpx.AsyncClient
) -> None:
    crowd = [await peers.connect() for _ in range(12)]
    for peer in crowd[:7]:
        status, body = await peer.answer()
        assert (status, body["error"]) == (429, "Too many requests")
        await peer.ended()
    assert all(peer.open for peer in crowd[7:])
    await until(lambda: open_connections(server) == 5)
    assert (await live.get("/api/v1/tasks")).status_code == 200
    await crowd[-1].send(HEALTH + b"\r\n")
    assert (await crowd[-1].answer())[0] == 200


@pytest.mark.usefixtures("few_connections")
async def test_authenticated_connections_are_kept(peers: Peers, live: httpx.AsyncClient) -> None:
    async with live.stream("GET", "/api/v1/events") as stream:
        owner = await peers.connect()
        await owner.send(b"GET /api/v1/queue HTTP/1.1\r\nHost: api\r\n" + TOKEN_LINE + b"\r\n")
        assert (await owner.answer())[0] == 200
        crowd = [await peers.connect() for _ in range(20)]
        await crowd[0].ended()
        await owner.send(b"GET /api/v1/queue HTTP/1.1\r\nHost: api\r\n" + TOKEN_LINE + b"\r\n")
        assert (await owner.answer())[0] == 200
        task_id = await create(live)
        assert any([task_id in line async for line in _some(stream)])


async def _some(stream: httpx.Response) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        yield line
        if line.startswith("data:"):
            return


@pytest.mark.usefixtures("few_connections")
async def test_requests_without_a_token_leave_a_connection_unauthenticated(peers: Peers) -> None:
    asking = [await peers.connect() for _ in range(5)]
    for peer in asking:
        await peer.send(b"GET /api/v1/queue HTTP/1.1\r\nHost: api\r\n\r\n")
        assert (await peer.answer())[0] == 401
    for _ in range(5):
        await peers.connect()
    for peer in asking:
        await peer.ended()


@pytest.mark.usefixtures("few_connections")
async def test_idle_connections_are_closed_before_active_unauthenticated_ones(peers: Peers) -> None:
    asking, *idle = [await peers.connect() for _ in range(5)]
    await asking.send(HEALTH + b"\r\n")
    assert (await asking.answer())[0] == 200
    await peers.connect()
    assert (await idle[0].answer())[0] == 429
    await asking.send(HEALTH + b"\r\n")
    assert (await asking.answer())[0] == 200


@pytest.mark.usefixtures("few_connections")
async def test_the_address_with_most_unauthenticated_connections_loses_one(peers: Peers) -> None:
    first = await peers.connect("127.0.0.2")
    crowd = [await peers.connect("127.0.0.3") for _ in range(5)]
    others = [await peers.connect(f"127.0.0.{n}") for n in range(4, 9)]
    for peer in crowd[:3]:
        assert (await peer.answer())[0] == 503
    assert first.open
    assert all(peer.open for peer in [*crowd[3:], *others])
    for peer in [first, *crowd[3:], *others]:
        await peer.send(HEALTH + b"\r\n")
        assert (await peer.answer())[0] == 200


async def test_the_number_of_connections_is_limited(app: FastAPI) -> None:
    async with serving(app, most=4) as server, AsyncExitStack() as streams, Peers(server) as peers:
        for _ in range(4):
            live = await streams.enter_async_context(over_tcp(server))
            await streams.enter_async_context(live.stream("GET", "/api/v1/events"))
        status, body = await (await peers.connect()).answer()
        assert (status, body["error"]) == (503, "Service unavailable")
        await streams.aclose()
        await until(lambda: open_connections(server) <= 1)
        peer = await peers.connect()
        await peer.send(HEALTH + b"\r\n")
        assert (await peer.answer())[0] == 200


@pytest.mark.usefixtures("few_connections")
async def test_refusals_are_logged_as_counts(peers: Peers, server: ApiServer) -> None:
    with capture_logs() as logs:
        for _ in range(30):
            peer = await peers.connect()
            await peer.send(b"nonsense\r\n\r\n")
            assert (await peer.answer())[0] == 400
        for _ in range(20):
            await peers.connect()

        def counts() -> list[int]:
            return [entry["count"] for entry in logs if entry["event"] == "connections_closed"]

        # On a busy machine the server itself has logged the first of them.
        await until(lambda: sum(counts()) + server.server_state._refused.total() >= 40)
        server.server_state._logged = 0.0
        server.server_state.sweep()
    assert 2 <= len(counts()) <= 8
    assert sum(counts()) >= 40


@pytest.mark.parametrize(
    ("limits", "wanted", "room", "raised"),
    [
        ((1024, 1024), 2048, 597, 1024),
        ((1024, 1_000_000), 2048, 2048, 3200),
        ((1024, 2000), 2048, 1248, 2000),
        ((100_000, 100_000), 2048, 2048, None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2048, 2048, None),
        ((1024, resource.RLIM_INFINITY), 2048, 2048, 3200),
        ((100, 100), 2048, 16, 100),
    ],
)
def test_file_descriptors_are_reserved_for_other_uses(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, room: int, raised: int | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert connections.connection_limit(wanted) == room
    assert [soft for soft, _ in asked] == ([raised] if raised else [])


async def test_event_streams_are_counted(config: Config, store: Store, catalogue: Catalogue) -> None:
    api = config.api.model_copy(update={"max_event_streams": 2})
    app = create_app(config.model_copy(update={"api": api}), store, catalogue)
    async with serving(app) as server, over_tcp(server) as live:
        task_id = await create(live)
        async with live.stream("GET", "/api/v1/events"), live.stream("GET", "/api/v1/events"):
            for path in ("/api/v1/events", f"/api/v1/tasks/{task_id}/events"):
                reply = await live.get(path)
                assert "2 event streams" in check_error(reply, 429)["message"]
                assert int(reply.headers["retry-after"]) > 0
                assert reply.headers["x-ratelimit-limit"] == "2"
        hub = app.state.services.hub
        await until(lambda: not hub._clients)
        async with live.stream("GET", "/api/v1/events") as again:
            assert again.status_code == 200
