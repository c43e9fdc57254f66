"""The kernel sends a file of a disk to a socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saveany.errors import StorageError
from storages.base import Lend, Reader
from storages.local.storage import LocalStorage
from storages.testing.helpers import MIB, content, save

SIZE = 12 * MIB
DATA = content(SIZE)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A non-blocking socket to send to, and its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def lending(sock: socket.socket) -> Lend:
    def lend(work: Callable[[int], int]) -> Callable[[], int]:
        return lambda: work(sock.fileno())

    return lend


async def opened(storage: LocalStorage) -> Reader:
    await save(storage, "film.mkv", DATA)
    return await storage.open("film.mkv")


async def test_all_bytes_arrive(storage: LocalStorage, sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets

    def receive() -> bytes:
        got = bytearray()
        while len(got) < SIZE - 5 and (data := theirs.recv(MIB)):
            got += data
        return bytes(got)

    async with await opened(storage) as reader:
        receiving, at = asyncio.create_task(asyncio.to_thread(receive)), 5
        while at < SIZE:
            at += await reader.send(lending(ours), at, SIZE)
        assert await receiving == DATA[5:]


async def test_a_client_that_reads_nothing_is_not_waited_for(
    storage: LocalStorage, sockets: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = sockets
    async with await opened(storage) as reader:
        sent = await reader.send(lending(ours), 0, SIZE)
        assert 0 < sent < SIZE
        assert await reader.send(lending(ours), sent, SIZE) == 0


async def test_a_client_that_has_gone(
    storage: LocalStorage, sockets: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = sockets
    async with await opened(storage) as reader:
        theirs.close()
        with pytest.raises(ConnectionError):
            await reader.send(lending(ours), 0, SIZE)


async def test_a_file_that_was_truncated(
    storage: LocalStorage, base: Path, sockets: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = sockets
    async with await opened(storage) as reader:
        with (base / "film.mkv").open("r+b") as file:
            file.truncate(10)
        assert await reader.send(lending(ours), 0, SIZE) == 10
        with pytest.raises(StorageError, match="has changed"):
            await reader.send(lending(ours), 10, SIZE)


async def test_what_was_sent_before_the_client_left_counts(
    storage: LocalStorage, sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = os.sendfile

    def leaving(sock: int, fd: int, offset: int, size: int) -> int:
        if offset:
            raise BrokenPipeError
        return send(sock, fd, offset, size)

    monkeypatch.setattr(os, "sendfile", leaving)
    ours, _ = sockets
    async with await opened(storage) as reader:
        sent = await reader.send(lending(ours), 0, SIZE)
        assert sent > 0
        with pytest.raises(ConnectionError):
            await reader.send(lending(ours), sent, SIZE)
