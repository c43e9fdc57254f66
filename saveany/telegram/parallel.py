"""The downloader: many parts of a file at once, over connections that carry nothing else.

Facts it rests on (https://core.telegram.org/api/files): a part is at most 1 MiB, aligned, and never crosses a
1 MiB block; large transfers belong on connections of their own; floods, moved files, expired references,
timeouts and dropped connections are all normal. Memory is bounded for all files of the process together,
whatever their sizes.

    Downloader  the pools of a process; the face
    _Download   a whole file: the list of parts that are left, and who works on them
    _read       a range of a file, in order

Below it lie `file` (one file, part by part whatever happens), `pool` (connections), `shared` (with whom they
are shared), `pace` and `wire`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing

from redis.asyncio import Redis

from saveany.telegram.cdn import CdnPool
from saveany.telegram.client import Client
from saveany.telegram.file import PART, Bytes, Elsewhere, OnWait, RemoteFile
from saveany.telegram.flow import FairSemaphore
from saveany.telegram.media import Media
from saveany.telegram.pool import ConnectionPool, PoolLimits
from saveany.telegram.session import SessionFolder

Write = Callable[[int, Bytes], Awaitable[None]]
Range = tuple[int, int]  # half-open, bytes
Refresh = Callable[[Media], Awaitable[Media]]

#: The first part of a range is short, so that it is there early.
FIRST_PART = 128 << 10
#: The most parts of a range that are asked for, or wait to be taken, at the same time.
AHEAD = 8
#: `precise` parts begin and end at whole blocks of this size.
_BLOCK = 1 << 10


class Downloader:
    """Downloads files with the accounts of this process. Processes that use the same `redis` share the
    connections of each account, and its flood waits."""

    def __init__(
        self,
        client: Callable[[str], Client],
        folder: SessionFolder,
        refresh: Refresh,
        elsewhere: Elsewhere,
        limits: PoolLimits | None = None,
        redis: Redis | None = None,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._refresh = refresh
        self._elsewhere = elsewhere
        self._client = client
        self._folder = folder
        self._redis = redis
        self._pools: dict[tuple[str, int], ConnectionPool] = {}
        #: The most bytes that are asked for or being written at a time.
        self.most = self._limits.memory
        # First come, first served: of one file the earlier parts get their place before the later ones.
        self._places = FairSemaphore(lambda: max(1, min(self.most, self._limits.memory) // PART))

    async def download(
        self, media: Media, write: Write, *, have: Sequence[Range] = (), on_wait: OnWait | None = None
    ) -> None:
        """Hand every byte of the file to `write(offset, data)`, but for the parts that lie in `have` whole.

        Parts come as they arrive, several `write` calls run at once, and each of them holds back the
        connection it came from: a slow writer slows the download, never fills memory. Parts are begun in
        ascending order, so a writer may wait for the earlier ones. `on_wait(seconds)` tells of a flood
        wait that is being slept. Raises `Retryable`, `Permanent`, `NeedsLogin`, and what `write` raises.
        """
        todo = [offset for offset in range(0, media.size, PART) if not _is_in(have, offset, media.size)]
        if todo:
            with ExitStack() as leases:
                width = min(width_for(media.size), len(todo))
                file = self._file(media, width, on_wait, leases, urgent=width == 1)
                await _Download(file, write, todo, self._places).run()

    async def read(self, media: Media, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, `length` of them or as many as there are, in order.

        The first piece is short and comes early; the next parts are fetched meanwhile, and no more than
        `AHEAD` are held for a consumer that takes its time. Close the iterator (`aclosing`) to stop early.
        Raises as `download` does.
        """
        start, end = offset, min(media.size, offset + length)
        with ExitStack() as leases:
            width = width_for(end - start)
            file = self._file(media, width, None, leases, urgent=True)  # somebody waits for it
            async with aclosing(_read(file, start, end, min(AHEAD, 2 * width), self._places)) as pieces:
                async for piece in pieces:
                    yield piece

    def _file(
        self, media: Media, width: int, on_wait: OnWait | None, leases: ExitStack, *, urgent: bool
    ) -> RemoteFile:
        return RemoteFile(
            media,
            width,
            self.pool,
            self._refresh,
            self._elsewhere,
            on_wait,
            self._limits,
            leases,
            urgent=urgent,
        )

    def pool(self, account: str, dc_id: int, *, cdn: bool = False) -> ConnectionPool:
        """The lines of an account to a data centre; raises `Retryable` if the account is not ready."""
        client = self._client(account)
        key = (account, dc_id)
        if key not in self._pools:
            kind = CdnPool if cdn else ConnectionPool
            self._pools[key] = kind(client, dc_id, self._folder, self._limits, self._redis)
        return self._pools[key]

    async def forget(self, account: str) -> None:
        """Hang up the lines of an account, whose login will be another one if it comes back."""
        pools = [self._pools.pop(key) for key in list(self._pools) if key[0] == account]
        await asyncio.gather(*(pool.close() for pool in pools))

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


class _Download:
    """One file on its way."""

    def __init__(self, file: RemoteFile, write: Write, todo: Sequence[int], places: FairSemaphore) -> None:
        self._file = file
        self._write = write
        self._offsets = iter(todo)  # shared: whoever is free takes the next
        self._places = places
        self._crew = 0

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._hire(group)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _hire(self, group: asyncio.TaskGroup) -> None:
        """As many workers as parts may be on their way; that grows and shrinks with the depth of the pool."""
        while self._crew < self._file.at_once:
            work = self._work(group)
            try:
                group.create_task(work)
            except RuntimeError:  # it is ending: a part has failed, or it is canceled
                work.close()
                raise asyncio.CancelledError from None
            self._crew += 1

    async def _work(self, group: asyncio.TaskGroup) -> None:
        for offset in self._offsets:
            async with self._places.turn(urgent=self._file.urgent):
                await self._write(offset, await self._file.part(offset, PART))
            if self._crew > self._file.at_once:
                break
            self._hire(group)
        self._crew -= 1


async def _read(
    file: RemoteFile, start: int, end: int, ahead: int, places: FairSemaphore
) -> AsyncGenerator[bytes, None]:
    """The bytes from `start` to `end`, in pieces."""

    async def fetch(offset: int, limit: int) -> bytes:
        async with places.turn(urgent=True):
            data = await file.part(offset, limit, precise=True)
        return bytes(data[max(0, start - offset) : end - offset])

    coming: deque[asyncio.Task[bytes]] = deque()
    parts = parts_of(start, end)
    try:
        while True:
            while len(coming) < ahead and (part := next(parts, None)):
                coming.append(asyncio.create_task(fetch(*part)))
            if not coming:
                return
            piece = await coming[0]
            coming.popleft()
            yield piece
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)


def parts_of(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The (offset, limit) of the `precise` parts that cover a range: a short one, then up to whole blocks."""
    offset = start - start % _BLOCK
    most = FIRST_PART
    while max(start, offset) < end:
        limit = min(most, PART - offset % PART, -(-(end - offset) // _BLOCK) * _BLOCK)
        yield offset, limit
        offset += limit
        most = PART


def width_for(size: int) -> int:
    """Connections for that many bytes: each must be worth its handshake."""
    mib = size / (1 << 20)
    return 1 if mib < 5 else 2 if mib < 20 else 4 if mib < 32 else 8


def _is_in(have: Sequence[Range], offset: int, size: int) -> bool:
    """Whether the part at `offset` of a file of `size` bytes lies in one of the ranges."""
    return any(start <= offset and min(offset + PART, size) <= end for start, end in have)
