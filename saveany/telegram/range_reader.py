"""Reads a range of a file in order, for someone who waits for it: a player, a browser.

The first part is small, so that it arrives early. How many parts are fetched ahead depends on the reader:
four times as many each time that it has to wait, fewer while it is slow. So one fast reader gets all that the
connections carry, and a hundred slow ones need little memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from saveany.telegram.file import PART, Bytes, RemoteFile
from saveany.telegram.flow import FairSemaphore

#: Size in bytes of the first part of a range.
FIRST_PART = 128 << 10
#: Maximum number of parts of a range that are in flight or wait for the reader: as many as the connections
#: carry at first (16), and 8 that have arrived before an earlier one.
AHEAD = 24
#: The same for a reader that never waits: the one that it has, and the next.
_LEAST_AHEAD = 2
#: How many times as many parts a reader gets that has to wait.
_GROWTH = 4
#: Bytes that all readers together may have in flight or waiting; each has the least number of parts, though.
_MAX_AHEAD = 48 << 20
#: `precise` parts start and end at multiples of this many bytes.
_BLOCK = 1 << 10
#: Size of parts for a reader that never waits, and for all readers if there are many.
_SMALL_PART, _SMALLEST_PART, _MANY = PART // 2, PART // 4, 24

#: Players read the head of a file, then its tail, then the head again; so these bytes stay in memory for some
#: seconds, within a limit for all files.
_HEAD, _TAIL = 256 << 10, 1 << 20
_KEPT_SECONDS, _MAX_KEPT = 60.0, 16 << 20

#: Identifies a file: the id of the document, and the letter of the picture if it is one.
FileKey = tuple[int, str]
#: Identifies a part: the file, its offset and its size.
PartKey = tuple[FileKey, int, int]


async def read_range(
    file: RemoteFile,
    key: FileKey,
    size: int,
    start: int,
    end: int,
    buffers: FairSemaphore,
    shared: SharedParts,
) -> AsyncGenerator[Bytes, None]:
    """The bytes from `start` to `end` of a file of `size` bytes, in pieces. Readers of the file with
    the same `key` and `shared` share requests."""

    async def fetch(offset: int, limit: int) -> Bytes:
        async with buffers.slot(file.length(offset, limit), urgent=True):
            return await file.part(offset, limit, precise=True)

    async def part(offset: int, limit: int) -> Bytes:
        keep = offset < _HEAD or offset + limit > size - _TAIL
        data = await shared.get((key, offset, limit), lambda: fetch(offset, limit), keep=keep)
        first, last = max(0, start - offset), end - offset
        return data if not first and last >= len(data) else memoryview(data)[first:last]

    ahead = 1
    fetching: deque[asyncio.Task[Bytes]] = deque()
    parts = parts_of(start, end, lambda: shared.part_size(ahead))

    def fetch_ahead() -> None:
        while len(fetching) < ahead and (each := next(parts, None)):
            fetching.append(asyncio.create_task(part(*each)))

    shared.readers += 1
    try:
        while True:
            fetch_ahead()
            if not fetching:
                return
            if not fetching[0].done():
                ahead = min(shared.max_ahead, _GROWTH * ahead if ahead > 1 else _LEAST_AHEAD)
                fetch_ahead()
            elif all(task.done() for task in fetching):
                ahead = max(_LEAST_AHEAD, min(shared.max_ahead, ahead - 1))
            yield await fetching[0]
            fetching.popleft()
    finally:
        shared.readers -= 1
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)


def parts_of(start: int, end: int, max_size: Callable[[], int]) -> Iterator[tuple[int, int]]:
    """The (offset, limit) of the `precise` parts that cover a range: a short one, followed by ones of up to
    `max_size` bytes, within blocks of that size."""
    offset, limit = start - start % _BLOCK, FIRST_PART
    while max(start, offset) < end:
        limit = min(limit, PART - offset % PART, -(-(end - offset) // _BLOCK) * _BLOCK)
        yield offset, limit
        offset += limit
        size = max_size()
        limit = size - offset % size


class SharedParts:
    """Parts that several readers ask for at the same time, or soon after each other."""

    def __init__(self) -> None:
        self._in_flight: dict[PartKey, _Request] = {}
        self._kept: OrderedDict[PartKey, tuple[float, Bytes]] = OrderedDict()  # the oldest first
        self._kept_bytes = 0
        self.readers = 0  # that read at the moment

    @property
    def max_ahead(self) -> int:
        """Maximum number of parts that each reader may have in flight or waiting."""
        return max(_LEAST_AHEAD, min(AHEAD, _MAX_AHEAD // (PART * max(1, self.readers))))

    def part_size(self, ahead: int) -> int:
        """The size of the parts for a reader that has `ahead` of them."""
        if self.readers > _MANY:
            return _SMALLEST_PART
        return PART if ahead > _LEAST_AHEAD else _SMALL_PART

    async def get(self, key: PartKey, fetch: Callable[[], Awaitable[Bytes]], *, keep: bool) -> Bytes:
        """A part: kept from before, from a request in flight, or by `fetch`. With `keep` it stays in memory
        for a while. A request that nobody waits for any more is canceled."""
        if (kept := self._find(key)) is not None:
            return kept
        request = self._in_flight.get(key)
        if request is None:
            data = await self._fetch(key, fetch)
        else:
            try:
                data = await self._wait(key, request)
            except Exception:  # the other reader's file may have failed for its own reasons
                data = await fetch()
        if keep:
            self._keep(key, data)
        return data

    async def _fetch(self, key: PartKey, fetch: Callable[[], Awaitable[Bytes]]) -> Bytes:
        request = _Request(asyncio.ensure_future(fetch()))
        self._in_flight[key] = request
        return await self._wait(key, request)

    async def _wait(self, key: PartKey, request: _Request) -> Bytes:
        request.readers += 1
        try:
            return await asyncio.shield(request.data)
        finally:
            request.readers -= 1
            if not request.readers:
                request.data.cancel()
                if self._in_flight.get(key) is request:
                    del self._in_flight[key]

    def _find(self, key: PartKey) -> Bytes | None:
        at, data = self._kept.get(key, (0.0, None))
        return data if time.monotonic() - at < _KEPT_SECONDS else None

    def _keep(self, key: PartKey, data: Bytes) -> None:
        _, before = self._kept.pop(key, (0.0, b""))
        self._kept[key] = time.monotonic(), data
        self._kept_bytes += len(data) - len(before)
        while self._kept_bytes > _MAX_KEPT or self._is_outdated():
            _, (_, oldest) = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)

    def _is_outdated(self) -> bool:
        return bool(self._kept) and time.monotonic() - next(iter(self._kept.values()))[0] > _KEPT_SECONDS


@dataclass(eq=False)
class _Request:
    """A request in flight, and the number of readers that wait for it."""

    data: asyncio.Future[Bytes]
    readers: int = 0
