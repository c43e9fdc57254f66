"""Many uploads to an FTP server that allows few connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aioftp
import pytest

from saveany.errors import StorageBusy, StorageError, StorageUnavailable
from storages import limit as limit_module
from storages.ftp.client import FtpClient
from storages.ftp.connections import FtpConnections
from storages.ftp.storage import FtpStorage
from storages.testing.helpers import MIB, content, fill, key, load, save
from tests.fixtures import ftp
from tests.fixtures.ftp import FtpServer
from tests.fixtures.waiting import until

COUNT = 12


@pytest.fixture(params=[1, 2, 3])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FtpServer]:
    """A server that allows one, two or three connections of a client. The count includes the one that it
    refuses."""
    with ftp.pyftpdlib(tmp_path, connections=request.param) as server:
        yield server


@pytest.fixture
def two(tmp_path: Path) -> Iterator[FtpServer]:
    with ftp.pyftpdlib(tmp_path, connections=2) as server:
        yield server


async def test_all_files_are_saved_however_few_connections_there_are(server: FtpServer) -> None:
    storage = FtpStorage(server.options("x"))
    data = {n: content(100_000 + n) for n in range(COUNT)}
    await asyncio.gather(*(save(storage, f"d/{n}.bin", data[n], key(item=n)) for n in range(COUNT)))
    for n in range(COUNT):
        assert (server.root / f"x/d/{n}.bin").read_bytes() == data[n]
    assert storage.uploads_at_once <= 2
    await storage.close()


async def test_a_server_without_a_limit_gets_several_uploads(tmp_path: Path) -> None:
    with ftp.pyftpdlib(tmp_path) as server:
        storage = FtpStorage(server.options("x"))
        await asyncio.gather(*(save(storage, f"{n}.bin", b"x", key(item=n)) for n in range(COUNT)))
        assert storage.uploads_at_once == 4
        await storage.close()


async def test_a_long_upload_leaves_a_connection_to_others(two: FtpServer) -> None:
    """Also to its own checkpoints, and to test files."""
    storage = FtpStorage(two.options("x"))
    await asyncio.gather(*(save(storage, f"{n}.bin", b"x", key(item=n)) for n in range(4)))
    async with await storage.begin(key(item=9), "a.bin", 8 * MIB) as upload:
        await fill(upload, content(4 * MIB))
        waiting = asyncio.create_task(save(storage, "b.bin", content(MIB), key(item=10)))
        for _ in range(3):
            await asyncio.wait_for(storage.probe(), 20)
            assert await asyncio.wait_for(storage.stat("nothing"), 20) is None
            await asyncio.wait_for(upload.sync([(0, 4 * MIB)]), 20)
        assert not waiting.done()
        await fill(upload, content(8 * MIB)[4 * MIB :], start=4 * MIB)
        await upload.commit("a.bin", 8 * MIB, replace=False)
    await asyncio.wait_for(waiting, 20)
    assert await load(storage, "a.bin") == content(8 * MIB)
    assert await load(storage, "b.bin") == content(MIB)
    await storage.close()


async def test_uploads_that_wait_for_each_other_give_up_after_a_while(
    two: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FtpStorage(two.options("x"))
    monkeypatch.setattr(limit_module, "RETRY_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        upload = await stack.enter_async_context(await storage.begin(key(), "a.bin", 2 * MIB))
        await upload.write(0, content(MIB))
        held = await stack.enter_async_context(storage._connections.connection())
        assert held.home
        with pytest.raises(StorageBusy, match="in use") as busy:
            await storage.stat("a.bin")
        assert busy.value.after > 30
        await upload.abort()
    await storage.close()


async def test_the_limit_is_tried_again_after_a_while(
    two: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections of others may have used it up."""
    other, storage = FtpStorage(two.options("x")), FtpStorage(two.options("x"))
    async with other._connections.connection():
        await asyncio.gather(*(save(storage, f"{n}.bin", b"x", key(item=n)) for n in range(4)))
        assert storage._connections._limit.value == 1
    await other.close()
    monkeypatch.setattr(limit_module, "RETRY_SECONDS", 0.0)
    async with storage._connections.connection(), storage._connections.connection():
        assert storage._connections._limit.value == 2
    await storage.close()


async def test_a_refusal_without_any_connection_is_an_error(two: FtpServer) -> None:
    other, storage = FtpStorage(two.options("x")), FtpStorage(two.options("x"))
    async with other._connections.connection(), other._connections.connection():
        with pytest.raises(StorageUnavailable, match="421"):
            await storage.stat("a.bin")
    await other.close()
    assert await storage.stat("a.bin") is None
    await storage.close()


async def test_a_wrong_password_is_not_taken_for_a_limit(two: FtpServer) -> None:
    storage = FtpStorage(two.options("x"))
    async with storage._connections.connection():
        wrong = storage._options.model_copy(update={"username": "nobody"})
        storage._connections._options = wrong
        with pytest.raises(StorageError, match="refuses the login"):
            await storage.stat("a.bin")
    await storage.close()


async def found_out(server: FtpServer) -> FtpStorage:
    """A storage that knows how many connections the server allows."""
    storage = FtpStorage(server.options("x"))
    await asyncio.gather(*(save(storage, f"{n}.bin", b"x", key(item=n)) for n in range(4)))
    return storage


async def test_a_limit_that_is_tried_again_leaves_a_connection_to_test_files(
    two: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new connection in place of one that was closed does not show that the server allows more."""
    storage = await found_out(two)
    async with await storage.begin(key(item=9), "a.bin", 8 * MIB) as a:
        await fill(a, content(4 * MIB))
        await storage.close()  # the idle connections
        with monkeypatch.context() as patch:
            patch.setattr(limit_module, "RETRY_SECONDS", 0.0)
            assert await storage.stat("nothing") is None
        assert storage.uploads_at_once == 1
        async with await storage.begin(key(item=10), "b.bin", 8 * MIB) as b:
            filling = asyncio.create_task(fill(b, content(4 * MIB)))
            for _ in range(3):
                await asyncio.wait_for(storage.probe(), 20)
            assert not filling.done()
            filling.cancel()
    await storage.close()


async def test_the_next_upload_finds_out_that_others_have_left(
    two: FtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that finds an idle connection."""
    other = FtpStorage(two.options("x"))
    async with other._connections.connection():
        storage = await found_out(two)
        assert storage._connections._limit.value == 1
    await other.close()
    monkeypatch.setattr(limit_module, "RETRY_SECONDS", 0.0)
    await save(storage, "a.bin", content(MIB), key(item=9))
    assert storage._connections._limit.value == 2
    await storage.close()


class Refusing:
    """In place of connecting: two connections are accepted, and the refusal of others takes a while."""

    def __init__(self, connections: FtpConnections, reply: str = "Too many connections") -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self._connections = connections
        self._connect = connections._connect
        self._count = 0
        self._reply = reply
        connections._connect = self  # type: ignore[method-assign]

    async def __call__(self) -> FtpClient:
        self._count += 1
        if self._count <= 2:
            return await self._connect()
        self.asked.set()
        await self.answer.wait()
        raise aioftp.StatusCodeError((aioftp.Code("2xx"),), (aioftp.Code("421"),), [self._reply])


async def in_use(connections: FtpConnections, end: asyncio.Event) -> None:
    async with connections.connection():
        await end.wait()


async def test_a_connection_that_becomes_idle_during_a_refusal_is_used(two: FtpServer) -> None:
    connections = FtpStorage(two.options("x"))._connections
    server, end = Refusing(connections), asyncio.Event()
    users = [asyncio.create_task(in_use(connections, end)) for _ in range(2)]
    await until(lambda: connections._limit._accepted == 2)
    third = asyncio.create_task(in_use(connections, end))
    await server.asked.wait()
    end.set()
    await asyncio.gather(*users)
    server.answer.set()
    await asyncio.wait_for(third, 20)
    await connections.close()


async def test_a_server_that_shuts_down_keeps_nobody_waiting(two: FtpServer) -> None:
    """Its refusal has the code of too many connections."""
    connections = FtpStorage(two.options("x"))._connections
    server, end = Refusing(connections, "Service is shutting down"), asyncio.Event()
    server.answer.set()
    users = [asyncio.create_task(in_use(connections, end)) for _ in range(2)]
    await until(lambda: connections._limit._accepted == 2)
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await asyncio.wait_for(in_use(connections, end), 20)
    assert connections._limit.value == 8
    end.set()
    await asyncio.gather(*users)
    await connections.close()


async def test_connections_are_given_in_order(two: FtpServer) -> None:
    storage = await found_out(two)
    connections, order, held = storage._connections, list[int](), asyncio.Event()

    async def use(number: int) -> None:
        async with connections.connection():
            order.append(number)
            await asyncio.sleep(0)

    users = [asyncio.create_task(in_use(connections, held)) for _ in range(2)]
    await until(lambda: connections._limit._accepted == 2 and not connections._idle)
    waiting = [asyncio.create_task(use(number)) for number in range(10)]
    await asyncio.sleep(0)
    waiting[4].cancel()
    held.set()
    await asyncio.gather(*users, *waiting, return_exceptions=True)
    assert order == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    await storage.close()
