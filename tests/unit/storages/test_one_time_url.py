"""A stream that is served once at a URL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import httpx
import pytest
import uvloop

from storages.one_time_url import served_once
from tests.fixtures.tcp import connection

MIB = 1 << 20
BODY = random.Random(1).randbytes(3 * MIB + 5)


async def pieces(body: bytes = BODY) -> AsyncIterator[memoryview]:
    """The body in chunks; each buffer is overwritten for the next one, as callers may do."""
    for offset in range(0, len(body), MIB):
        piece = bytearray(body[offset : offset + MIB])
        yield memoryview(piece)
        piece[:] = bytes(len(piece))


@pytest.mark.parametrize("size", [0, 1, len(BODY)])
async def test_the_stream_is_read_completely_and_once(size: int) -> None:
    async with served_once(pieces(BODY[:size]), size) as link, httpx.AsyncClient() as client:
        assert (await client.get(link.url)).content == BODY[:size]
        await link.sent
        assert (await client.get(link.url)).status_code == 404


def test_a_chunk_is_no_longer_used_when_the_next_is_requested() -> None:
    body = 16 * BODY  # more than the sockets hold

    async def slowly() -> bytes:
        async with served_once(pieces(body), len(body)) as link:
            url = httpx.URL(link.url)
            async with connection(url.host, url.port, limit=4096) as (reader, writer):
                writer.write(f"GET {url.path} HTTP/1.1\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")
                return await reader.readexactly(len(body))

    assert uvloop.run(slowly()) == body  # as workers do: it sends from where the bytes lie


async def test_requests_without_the_secret_url_are_refused() -> None:
    async with served_once(pieces(), len(BODY)) as link, httpx.AsyncClient() as client:
        for url in (link.url[:-1], link.url.rpartition("/")[0] + "/"):
            assert (await client.get(url)).status_code == 404
        assert (await client.post(link.url)).status_code == 404
        assert (await client.get(link.url)).content == BODY


async def test_an_error_of_the_stream_is_raised_and_the_reader_sees_a_short_body() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BODY[:MIB]
        raise ConnectionError("the source is gone")

    async with served_once(broken(), len(BODY)) as link, httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(link.url)
        with pytest.raises(ConnectionError, match="the source is gone"):
            await link.sent


async def test_leaving_the_block_ends_running_requests() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield BODY[:MIB]
        await asyncio.Event().wait()

    async with httpx.AsyncClient() as client:
        async with served_once(endless(), len(BODY)) as link:
            reading = asyncio.create_task(client.get(link.url))
            async with client.stream("GET", link.url.rpartition("/")[0]):
                pass  # the server answers, so the first request has come, too
        with pytest.raises(httpx.TransportError):
            await reading
        with pytest.raises(httpx.ConnectError):
            await client.get(link.url)


async def test_leaving_the_block_closes_connections_without_a_request() -> None:
    async with AsyncExitStack() as stack:
        async with served_once(pieces(), len(BODY)) as link:
            url = httpx.URL(link.url)
            opened = [await stack.enter_async_context(connection(url.host, url.port)) for _ in range(2)]
            opened[1][1].write(b"GET /")
            async with httpx.AsyncClient() as client:
                assert (await client.get(link.url[:-1])).status_code == 404  # so both have come, too
        for reader, _ in opened:
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_reader_that_disconnects_does_not_block_the_server() -> None:
    async with served_once(pieces(BODY * 8), len(BODY) * 8) as link, httpx.AsyncClient() as client:
        async with client.stream("GET", link.url) as answer:
            async for _ in answer.aiter_raw():
                break
        assert not link.sent.done()
