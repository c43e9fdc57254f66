"""The downloader: it fetches several parts of a file at once, over connections that carry only parts of
files.

It relies on these facts (https://core.telegram.org/api/files): a part is at most 1 MiB, aligned, and never
crosses a 1 MiB block; large transfers belong on dedicated connections; flood waits, moved files, expired
references, timeouts and lost connections are all normal. Memory is limited for all files of the process
together, whatever their sizes.

    Downloader  the entry point; owns the connection pools of a process
    _Download   a whole file: the remaining parts and the workers that fetch them

Below it are `range_reader` (a range of a file, in order), `file` (reads one file and recovers from errors),
`pool` (connections), `shared_account` (coordinates processes), `flow` (flow control) and `wire` (the receive
path).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from typing import NamedTuple

from saveany.store.telegram import TelegramStore
from saveany.telegram.cdn import CdnPool
from saveany.telegram.client import MtprotoClient
from saveany.telegram.file import PART, Bytes, FindElsewhere, OnWait, RemoteFile
from saveany.telegram.flow import FairSemaphore
from saveany.telegram.media import Media
from saveany.telegram.pool import ConnectionPool, PoolLimits
from saveany.telegram.range_reader import SharedParts, read_range
from saveany.telegram.session import SessionFolder

Write = Callable[[int, Bytes], Awaitable[None]]
Range = tuple[int, int]  # half-open, bytes
Refresh = Callable[[Media], Awaitable[Media]]


class PieceHash(NamedTuple):
    """The SHA-256 of a piece of a file."""

    offset: int
    length: int
    sha256: bytes


class Downloader:
    """Downloads files with the accounts of this process. Processes that use the same `store` share the
    connections of each account and its flood waits."""

    def __init__(
        self,
        client: Callable[[str], MtprotoClient],
        folder: SessionFolder,
        refresh: Refresh,
        find_elsewhere: FindElsewhere,
        limits: PoolLimits | None = None,
        store: TelegramStore | None = None,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._refresh = refresh
        self._find_elsewhere = find_elsewhere
        self._client = client
        self._folder = folder
        self._store = store
        self._pools: dict[tuple[str, int], ConnectionPool] = {}
        self._shared_parts = SharedParts()
        #: Maximum number of bytes in flight or being written.
        self.memory = self._limits.max_memory
        # In order of arrival, so that the earlier parts of a file go before the later ones.
        self._buffers = FairSemaphore(lambda: max(1, min(self.memory, self._limits.max_memory)))

    async def download(
        self, media: Media, write: Write, *, have: Sequence[Range] = (), on_wait: OnWait | None = None
    ) -> None:
        """Pass every byte of the file to `write(offset, data)`, except for parts that lie entirely within
        `have`.

        Parts arrive in any order, and several `write` calls run at once. Each holds back the connection that
        it came from, so a slow writer slows the download and never fills the memory. Parts are started in
        ascending order, so a writer may wait for earlier ones. `on_wait(seconds)` is called when a flood wait
        begins. Raises `Retryable`, `Permanent`, `NeedsLogin` and the errors of `write`.
        """
        missing = [offset for offset in range(0, media.size, PART) if not _is_in(have, offset, media.size)]
        if missing:
            with ExitStack() as leases:
                width = min(width_for(media.size), len(missing))
                file = self._file(media, width, on_wait, leases, urgent=width == 1)
                await _Download(file, write, missing, self._buffers).run()

    async def read(self, media: Media, offset: int, length: int) -> AsyncGenerator[bytes | memoryview, None]:
        """The bytes of a file from `offset` on, in order; `length` bytes or up to the end of the file.

        The first piece is short and arrives early; see `range_reader`. Close the iterator (`aclosing`)
        to stop early. Raises as `download` does.
        """
        start, end = offset, min(media.size, offset + length)
        with ExitStack() as leases:
            width = width_for(end - start)
            file = self._file(media, width, None, leases, urgent=True)  # a consumer is waiting
            key = (media.document_id, media.location.thumb)
            pieces = read_range(file, key, media.size, start, end, self._buffers, self._shared_parts)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece

    async def hashes(self, media: Media) -> list[PieceHash] | None:
        """Telegram's SHA-256 of consecutive pieces that make up the whole file; None if it has none. Raises
        as `download` does."""
        found, at = list[PieceHash](), 0
        with ExitStack() as leases:
            file = self._file(media, 1, None, leases, urgent=False)
            while at < media.size:
                pieces = {each.offset: each for each in await file.hashes(at)}
                if at not in pieces:
                    return None
                while (piece := pieces.get(at)) and piece.limit > 0:
                    found.append(PieceHash(at, piece.limit, bytes(piece.hash)))
                    at += piece.limit
        return found if at == media.size else None

    def _file(
        self, media: Media, width: int, on_wait: OnWait | None, leases: ExitStack, *, urgent: bool
    ) -> RemoteFile:
        return RemoteFile(
            media,
            width,
            self.pool,
            self._refresh,
            self._find_elsewhere,
            on_wait,
            self._limits,
            leases,
            urgent=urgent,
        )

    def pool(self, account: str, dc_id: int, *, cdn: bool = False) -> ConnectionPool:
        """The connections of an account to a data center. Raises `Retryable` if the account is not ready."""
        client = self._client(account)
        key = (account, dc_id)
        if key not in self._pools:
            kind = CdnPool if cdn else ConnectionPool
            self._pools[key] = kind(client, dc_id, self._folder, self._limits, self._store)
        return self._pools[key]

    async def forget(self, account: str) -> None:
        """Close the connections of an account whose login ended or will be replaced."""
        pools = [self._pools.pop(key) for key in list(self._pools) if key[0] == account]
        await asyncio.gather(*(pool.close() for pool in pools))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


class _Download:
    """The download of one whole file."""

    def __init__(
        self, file: RemoteFile, write: Write, offsets: Sequence[int], buffers: FairSemaphore
    ) -> None:
        self._file = file
        self._write = write
        self._offsets = iter(offsets)  # shared by all workers
        self._buffers = buffers
        self._workers = 0

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._start_workers(group)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _start_workers(self, group: asyncio.TaskGroup) -> None:
        """Start as many workers as parts may be in flight; the number follows the window of the pool."""
        while self._workers < self._file.max_in_flight:
            work = self._work(group)
            try:
                group.create_task(work)
            except RuntimeError:  # the group is ending: a part has failed, or the download is being canceled
                work.close()
                raise asyncio.CancelledError from None
            self._workers += 1

    async def _work(self, group: asyncio.TaskGroup) -> None:
        for offset in self._offsets:
            async with self._buffers.slot(self._file.length(offset, PART), urgent=self._file.urgent):
                await self._write(offset, await self._file.part(offset, PART))
            if self._workers > self._file.max_in_flight:
                break
            self._start_workers(group)
        self._workers -= 1


def width_for(size: int) -> int:
    """The number of connections for `size` bytes: each must be worth its handshake."""
    mib = size / (1 << 20)
    return 1 if mib < 5 else 2 if mib < 20 else 4 if mib < 32 else 8


def _is_in(have: Sequence[Range], offset: int, size: int) -> bool:
    """Whether the part at `offset` of a file of `size` bytes lies in one of the ranges."""
    return any(start <= offset and min(offset + PART, size) <= end for start, end in have)
