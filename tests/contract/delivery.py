"""The files of every storage are delivered as RFC 9110 demands, by the same code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import httpx

from saveany.delivery.content import StoredContent
from saveany.delivery.response import ContentResponse
from storages.base import Storage
from storages.testing.base import SuiteBase
from storages.testing.helpers import MIB, content, needs, save

SIZE = 1000
ALL = (0, SIZE)
#: Range header -> the bytes of the response, with status 206, or only a status.
RANGES: Mapping[str, tuple[int, int] | int] = {
    "bytes=0-0": (0, 1),
    "bytes=0-": ALL,
    "bytes=-500": (500, SIZE),
    "bytes=-5000": ALL,
    "bytes=-0": 416,
    "bytes=990-5000": (990, SIZE),
    "bytes=1000-": 416,
    "bytes=5-2": 200,
    "items=0-1": 200,
    "abc": 200,
    "bytes=0-1,5-8": 200,
    "bytes=0-9,5000-6000": (0, 10),
    "bytes=0-,1-,2-,3-,4-": ALL,
    f"bytes={','.join(f'{n}-{n}' for n in range(0, 1000, 2))}": 200,
    f"bytes=990-{'9' * 30}": (990, SIZE),
    f"bytes=0-0{' ' * 10_000}": (0, 1),
}
#: What every response has.
COMMON = {"accept-ranges": "bytes", "x-content-type-options": "nosniff", "x-robots-tag": "noindex"}


class DeliveryTests(SuiteBase):
    """A saved file can be fetched over HTTP: whole, in ranges, and only if it has changed."""

    @needs("reads")
    async def test_each_range_is_a_slice(self, storage: Storage) -> None:
        """DL1."""
        data = content(SIZE)
        path = (await save(storage, "a/b.mp4", data)).path
        async with _served(storage, path) as client:
            await check_ranges(client, "/", data)

    @needs("reads")
    async def test_head_and_conditions(self, storage: Storage) -> None:
        """SB8, DL3, DL4, DL5."""
        data = content(SIZE)
        path = (await save(storage, "a.bin", data)).path
        async with _served(storage, path) as client:
            head = await client.head("/", headers={"Range": "bytes=0-1"})
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "1000")
            tag, modified = head.headers["etag"], head.headers.get("last-modified")
            part = {"Range": "bytes=5-9"}
            for validator, applies in {
                tag: True,
                f"W/{tag}": False,
                '"other"': False,
                formatdate(1, usegmt=True): False,
                **({modified: True, _later(modified): False} if modified else {}),
            }.items():
                reply = await client.get("/", headers={**part, "If-Range": validator})
                assert reply.status_code == (206 if applies else 200), validator
                assert reply.content == (data[5:10] if applies else data)
            for headers, status in (
                ({"If-None-Match": tag}, 304),
                ({"If-None-Match": f'"x", W/{tag}'}, 304),
                ({"If-None-Match": tag, **part}, 304),
                ({"If-None-Match": '"x"', **part}, 206),
                ({"If-Match": '"x"', **part}, 412),
                ({"If-Match": tag, **part}, 206),
            ):
                reply = await client.get("/", headers=headers)
                assert reply.status_code == status, headers
                assert reply.headers["etag"] == tag
                assert status == 206 or not reply.content

    @needs("reads")
    async def test_an_empty_file(self, storage: Storage) -> None:
        """SB19."""
        path = (await save(storage, "empty.bin", b"")).path
        async with _served(storage, path) as client:
            for header, status in (("", 200), ("bytes=0-", 416), ("bytes=-5", 200)):
                reply = await client.get("/", headers={"Range": header} if header else {})
                assert (reply.status_code, reply.content) == (status, b""), header

    @needs("reads")
    async def test_a_large_file_in_pieces(self, storage: Storage) -> None:
        data = content(3 * MIB + 5)
        path = (await save(storage, "large.bin", data)).path
        async with _served(storage, path) as client:
            assert (await client.get("/")).content == data
            for start in (0, MIB - 1, MIB, 3 * MIB):
                reply = await client.get("/", headers={"Range": f"bytes={start}-"})
                assert (reply.status_code, reply.content) == (206, data[start:])


async def check_ranges(client: httpx.AsyncClient, url: str, data: bytes) -> None:
    """Compare each row of `RANGES` with slices of `data`, an MP4 file of `SIZE` bytes that is at `url`."""
    for header, expected in RANGES.items():
        reply = await client.get(url, headers={"Range": header})
        assert COMMON.items() <= reply.headers.items()
        if expected == 416:
            assert (reply.status_code, reply.content) == (416, b""), header[:50]
            assert reply.headers["content-range"] == f"bytes */{SIZE}"
            continue
        if isinstance(expected, tuple):
            start, end = expected
            assert reply.status_code == 206, header[:50]
            assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
        else:
            start, end = ALL
            assert reply.status_code == 200, header[:50]
            assert "content-range" not in reply.headers
        assert reply.content == data[start:end], header[:50]
        assert reply.headers["content-length"] == str(end - start)
        assert reply.headers["content-type"] == "video/mp4"


@asynccontextmanager
async def _served(storage: Storage, path: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that delivers this file at every address."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reader = await storage.open(path)
        await ContentResponse(StoredContent(reader, path.rpartition("/")[2]))(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files") as client:
        yield client


def _later(date: str) -> str:
    return formatdate(parsedate_to_datetime(date).timestamp() + 1, usegmt=True)
