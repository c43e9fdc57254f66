"""Bodies of HTTP replies: small and large, complete and broken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from saveany.errors import StorageUnavailable
from storages import http_client
from storages.http_client import HttpClient
from tests.fixtures.tcp import tcp_server

MIB = 1 << 20
BODY = random.Random(1).randbytes(5 * MIB + 3)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server that sends this reply to every request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await answer(writer)

    async with tcp_server(serve) as server:
        yield server.url("/")
        await asyncio.wait_for(server.ended(), 5)


async def load(http: HttpClient, url: str, start: int = 0, end: int = len(BODY)) -> bytes:
    async with http.request("GET", url) as answer:
        return b"".join([piece async for piece in http.file(answer, start, end)])


def sending(*pieces: bytes, close: bool = False) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


def head(length: int = len(BODY)) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize("cut", [0, 1, 1000, MIB, 4 * MIB + 5])
async def test_large_bodies_arrive_complete(cut: int) -> None:
    http = HttpClient("box")
    async with serving(sending(head() + BODY[:cut], BODY[cut:])) as url:
        for _ in range(2):
            assert await load(http, url) == BODY
        await http.close()


async def test_a_range_is_cut_from_a_complete_reply() -> None:
    http = HttpClient("box")
    async with serving(sending(head(), BODY)) as url:
        assert await load(http, url, 3 * MIB, 4 * MIB + 1) == BODY[3 * MIB : 4 * MIB + 1]
        await http.close()


async def test_a_chunked_body_is_decoded() -> None:
    pieces = [BODY[at : at + MIB] for at in range(0, len(BODY), MIB)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    http = HttpClient("box")
    async with serving(
        sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n")
    ) as url:
        assert await load(http, url) == BODY
        await http.close()


@pytest.mark.parametrize("cut", [0, 5, MIB, len(BODY) - 1])
async def test_a_truncated_body_is_an_error(cut: int) -> None:
    http = HttpClient("box")
    async with serving(sending(head(), BODY[:cut], close=True)) as url:
        with pytest.raises(StorageUnavailable, match="box"):
            await load(http, url)
        await http.close()


async def test_a_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_SILENCE", 0.2)
    http = HttpClient("box")
    async with serving(sending(head(), BODY[: 2 * MIB])) as url:
        with pytest.raises(StorageUnavailable, match="did not reply in time"):
            await load(http, url)
        await http.close()
