"""Plain URLs: files on web servers, over several connections where the server supports that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec.structs import replace

from saveany.errors import Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.ranges import Range, missing, range_header, split
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.http_body import chunks
from workers.sources.http_requests import DownloadClient, DownloadRequest
from workers.sources.http_response import (
    IDENTITY_KEYS,
    file_size,
    identity,
    name_of,
    range_end,
    suggested_name,
    supports_ranges,
)

#: Bytes that one connection fetches at a time; smaller files are not worth another connection.
_BLOCK_BYTES = 4 << 20
#: Maximum number of connections for one file.
_CONNECTIONS = 4
#: Attempts to fetch a block. An attempt that brought at least `_WORTHWHILE` bytes does not count.
_ATTEMPTS, _WORTHWHILE = 4, 1 << 16


@dataclass(slots=True, order=True)
class _Block:
    """The bytes that one connection fetches next. `start` moves forward as they arrive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _OpenResponse:
    """A response whose body, from the first byte of the file on, is not read yet."""

    task_id: str
    response: httpx.Response
    stack: AsyncExitStack  # closes the response


#: Extends a block by the next one if no connection fetches that yet; returns whether it did.
_Extend = Callable[[_Block], bool]


class DirectLinksSource(Source):
    """`directlinks`: one file for each URL."""

    def __init__(self, tools: Tools) -> None:
        self._client = DownloadClient(tools.guard, tools.config.proxy)
        #: URLs whose servers claim to support ranges but have failed to send one.
        self._without_ranges: set[str] = set()
        self._open: dict[tuple[int, bytes], _OpenResponse] = {}  # by `_key`

    @property
    def read_ahead(self) -> int:
        """The bytes that all connections may fetch at once."""
        return _CONNECTIONS * _BLOCK_BYTES

    async def close(self) -> None:
        """Close all connections."""
        for opened in self._open.values():
            await _close(opened)
        await self._client.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """One file for each URL. `prepare` finds out whether it exists."""
        extras: dict[str, Any] = {
            key: spec.params[key] for key in ("headers", "cookies", "max_bytes") if key in spec.params
        }
        return [ResolvedFile(name_of(url), None, {"url": url, **extras}) for url in spec.links]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report, *, pages: bool = True) -> Item:
        """Request the file and read its name, size and version from the response.

        The response stays open for `fetch`, because some links work only once, and some files are generated
        anew for each request. Without `pages` a web page raises `Permanent`: many sites send one in place of
        a file that requires a login or does not exist any more.
        """
        download = _download_request(item)
        await self._close_responses(spec.id)
        async with AsyncExitStack() as stack:
            request = self._client.request(download, {"Range": "bytes=0-"})
            response = await stack.enter_async_context(request)
            if not pages and response.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise Permanent("the server sends a web page in place of the file; it may require a login")
            size = file_size(response)
            ranges = supports_ranges(response) and download.url not in self._without_ranges
            if download.max_bytes and (size or 0) > download.max_bytes:
                raise Permanent(
                    "the file has {size} bytes, more than max_bytes ({max_bytes})",
                    size=size or 0,
                    max_bytes=download.max_bytes,
                )
            source = {key: value for key, value in item.source.items() if key not in IDENTITY_KEYS}
            source |= identity(response, ranges=ranges)
            ready = replace(item, name=suggested_name(response), size=size, source=source)
            if range_end(response, 0, ready) if ranges else response.status_code == 200:
                await _close(self._take_response(ready))
                self._open[_key(ready)] = _OpenResponse(spec.id, response, stack.pop_all())
        return ready

    def public_url(self, item: Item) -> str:
        """The URL of the file, "" if the request for it contains a login."""
        url = str(item.source["url"])
        private = item.source.get("headers") or item.source.get("cookies") or "@" in urlsplit(url).netloc
        return "" if private or item.size is None else url

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Fetch the missing bytes in blocks over several connections, or the whole file in one stream."""
        if item.size is None or not item.source.get("ranges"):
            await self._fetch_stream(item, write)
        else:
            await self._fetch_blocks(item, item.size, write, have)

    async def read(self, download: DownloadRequest, max_bytes: int) -> bytes:
        """A short document as a whole. Raises `Permanent` if it has more than `max_bytes` bytes."""
        document = b""
        async with self._client.request(download, {}) as response:
            async for data in chunks(response):
                document += data
                if len(document) > max_bytes:
                    raise Permanent("the page has more than {max_bytes} bytes", max_bytes=max_bytes)
        return document

    async def stop(self, task_id: str) -> None:
        """Close the task's connections."""
        await self._close_responses(task_id)

    async def forget(self, task_id: str) -> None:
        """Close the task's connections."""
        await self._close_responses(task_id)

    async def _close_responses(self, task_id: str) -> None:
        """Close the responses that were opened for a task and not read."""
        for key in [key for key, opened in self._open.items() if opened.task_id == task_id]:
            await _close(self._open.pop(key))

    def _take_response(self, item: Item) -> _OpenResponse | None:
        return self._open.pop(_key(item), None)

    @asynccontextmanager
    async def _response(
        self, item: Item, headers: dict[str, str], opened: _OpenResponse | None
    ) -> AsyncIterator[httpx.Response]:
        """The response that is open already, else a new one."""
        if opened:
            async with opened.stack:
                yield opened.response
            return
        async with self._client.request(_download_request(item), headers) as response:
            yield response

    async def _fetch_stream(self, item: Item, write: Write) -> None:
        """Fetch the whole file. Bytes of earlier attempts are never reused; `identity` makes sure of that."""
        offset, max_bytes = 0, _download_request(item).max_bytes
        async with self._response(item, {}, self._take_response(item)) as response:
            async for data in chunks(response):
                await write(offset, data)
                offset += len(data)
                if max_bytes and offset > max_bytes:
                    raise Permanent("the file has more than max_bytes ({max_bytes})", max_bytes=max_bytes)
            size = file_size(response)
        if size is not None and offset != size:
            raise Retryable(
                "{name}: {received} of {size} bytes arrived", name=item.name, received=offset, size=size
            )

    async def _fetch_blocks(self, item: Item, size: int, write: Write, have: Sequence[Range]) -> None:
        """Fetch the missing ranges, each block by the first connection that is free."""
        waiting = [_Block(*block) for block in split(missing(have, size), _BLOCK_BYTES)]  # a heap
        busy: list[_Block] = []
        if (opened := self._take_response(item)) and not (waiting and waiting[0].start == 0):
            await _close(opened)
            opened = None

        def extend(block: _Block) -> bool:
            if not waiting or waiting[0].start != block.end:
                return False
            block.end = heappop(waiting).end
            return True

        async def work() -> None:
            while waiting:
                nonlocal opened
                block, response, opened = heappop(waiting), opened, None  # it begins with the first block
                busy.append(block)
                try:
                    await self._fetch_block(item, block, write, extend, response)
                except (Retryable, Permanent) as error:
                    if isinstance(error, _FileChanged) or block is min(busy):
                        raise
                    # The server may allow fewer connections: one that fetches an earlier block takes over.
                    heappush(waiting, block)
                    return
                finally:
                    busy.remove(block)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in waiting[:_CONNECTIONS]:
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _fetch_block(
        self, item: Item, block: _Block, write: Write, extend: _Extend, opened: _OpenResponse | None
    ) -> None:
        """Fetch a block; if the connection breaks, continue from there. Attempts that brought bytes do not
        count, because some servers send less at a time than requested."""
        failures = 0
        while block.start < block.end:
            before = block.start
            try:
                async with aclosing(self._range(item, block, extend, opened)) as received:
                    async for data in received:
                        await write(block.start, data)
                        block.start += len(data)
            except _FileChanged:
                raise
            except Retryable as error:
                failures = failures + 1 if block.start - before < _WORTHWHILE else 0
                if error.after or failures == _ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**failures if failures else 0)
            opened = None

    async def _range(
        self, item: Item, block: _Block, extend: _Extend, opened: _OpenResponse | None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a block, and of those behind it as long as the response continues and no other
        connection fetches them."""
        etag, start = item.source.get("etag", ""), block.start
        headers = {"Range": range_header(start, block.end)}
        if version := item.source.get("modified") if etag.startswith("W/") else etag:
            headers["If-Range"] = version  # weak ETags are not allowed here
        offset = start
        async with self._response(item, headers, opened) as response, aclosing(chunks(response)) as body:
            end = range_end(response, start, item)
            if end is None:
                self._without_ranges.add(_download_request(item).url)
                raise _FileChanged("{name}: the file on the server has changed", name=item.name)
            async for data in body:
                if offset + len(data) > end:
                    raise Retryable("{name}: the server sends more than it announced", name=item.name)
                while data and (offset < block.end or extend(block)):
                    part, data = data[: block.end - offset], data[block.end - offset :]
                    yield part
                    offset += len(part)
                if offset == block.end < end and not extend(block):
                    break  # the server ignores where the range ends
        if offset != block.end:
            raise Retryable(
                "{name}: {received} of {size} bytes of a part arrived",
                name=item.name,
                received=offset - start,
                size=block.end - start,
            )


class _FileChanged(Retryable):
    """The file on the server is another one now, or the server sends no ranges of it: start again."""


def _key(item: Item) -> tuple[int, bytes]:
    """A key that is equal for items that get the same response."""
    return item.index, msgspec.json.encode(item.source)


async def _close(opened: _OpenResponse | None) -> None:
    if opened:
        await opened.stack.aclose()


def _download_request(item: Item) -> DownloadRequest:
    source = item.source
    return DownloadRequest(
        source["url"], source.get("headers", {}), source.get("cookies", {}), source.get("max_bytes", 0)
    )
