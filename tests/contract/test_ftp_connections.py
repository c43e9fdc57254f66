"""Many uploads to an FTP server that allows few connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from saveany.errors import StorageBusy, StorageError, StorageUnavailable
from storages.ftp import limit as limit_module
from storages.ftp.storage import FtpStorage
from storages.testing.helpers import MIB, content, fill, key, load, save
from tests.fixtures import ftp
from tests.fixtures.ftp import FtpServer

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
    monkeypatch.setattr(limit_module, "_RETRY_SECONDS", 0.1)
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
        assert storage._connections._limit._limit == 1
    await other.close()
    monkeypatch.setattr(limit_module, "_RETRY_SECONDS", 0.0)
    async with storage._connections.connection(), storage._connections.connection():
        assert storage._connections._limit._limit == 2
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
