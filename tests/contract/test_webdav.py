from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from saveany.errors import StorageError, StorageUnavailable
from storages.base import Storage, Usage
from storages.webdav import WebdavStorage
from tests.contract.suite import HOSTILE_NAMES, MIB, Open, StorageSuite, content, fill, key, load, save
from tests.fixtures import webdav
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.webdav import DavServer, curl


@pytest.fixture(scope="module")
def wsgidav() -> Iterator[DavServer]:
    with webdav.wsgidav() as server:
        yield server


@pytest.fixture(scope="module")
def rclone() -> Iterator[DavServer]:
    with webdav.rclone() as server:
        yield server


@pytest.fixture(scope="module")
def apache() -> Iterator[DavServer]:
    with webdav.apache() as server:
        yield server


@pytest.fixture(scope="module")
def nginx() -> Iterator[DavServer]:
    with webdav.nginx() as server:
        yield server


class DavSuite(StorageSuite):
    @pytest.fixture
    def server(self) -> DavServer:
        raise NotImplementedError

    @pytest.fixture
    def base(self) -> str:
        return f"b{uuid4().hex[:12]}"

    @pytest.fixture
    def open_storage(self, server: DavServer, base: str) -> Open:
        return lambda: WebdavStorage(server.options(base))

    @pytest.fixture
    def everything(self, server: DavServer, base: str) -> Callable[[], set[str]]:
        return server.everything(base)

    async def test_others_read_what_we_write(self, server: DavServer, base: str, worker: Open) -> None:
        data = content(3 * MIB + 3)
        await save(worker(), "d/ä b#c.bin", data)
        command = curl(server, f"{server.url}/{base}/d/%C3%A4%20b%23c.bin")
        got = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert got.stdout == data

    async def test_we_read_what_others_write(
        self, server: DavServer, base: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(MIB + 1)
        (tmp_path / "x").write_bytes(data)
        storage = worker()
        await storage.mkdir("d")
        command = curl(server, "-T", str(tmp_path / "x"), f"{server.url}/{base}/d/x%25y.bin")
        await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert await load(storage, "d/x%y.bin") == data

    async def test_usage(self, storage: Storage) -> None:
        assert await storage.usage() == Usage()

    async def test_a_cut_connection_is_told(self, server: DavServer, base: str) -> None:
        async with fault_proxy(server.port) as link:
            storage = WebdavStorage(server.options(base, url=f"http://127.0.0.1:{link.port}"))
            link.cut_after = 6 * MIB
            async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(20 * MIB), seal=True)
            link.cut_after = None
            assert await storage.stat("a.bin") is None
            assert await storage.list("") == []
            await storage.close()

    async def test_a_file_that_ends_too_early_is_told(
        self, server: DavServer, base: str, worker: Open
    ) -> None:
        await save(worker(), "a.bin", content(4 * MIB))
        async with fault_proxy(server.port) as link:
            link.cut_reply_after = 2 * MIB
            storage = WebdavStorage(server.options(base, url=f"http://127.0.0.1:{link.port}"))
            with pytest.raises(StorageUnavailable):
                await load(storage, "a.bin")
            await storage.close()

    async def test_a_wrong_password_is_told(self, server: DavServer, base: str) -> None:
        storage = WebdavStorage(server.options(base, password="wr0ng"))
        with pytest.raises(StorageError, match="password") as caught:
            await storage.probe()
        assert "wr0ng" not in str(caught.value)
        await storage.close()


class TestWsgidav(DavSuite):
    @pytest.fixture
    def server(self, wsgidav: DavServer) -> DavServer:
        return wsgidav

    async def test_usage(self, storage: Storage) -> None:
        await storage.mkdir("")
        usage = await storage.usage()
        assert usage.used
        assert usage.free
        assert usage.total == usage.used + usage.free


class TestRclone(DavSuite):
    @pytest.fixture
    def server(self, rclone: DavServer) -> DavServer:
        return rclone


class TestApache(DavSuite):
    @pytest.fixture
    def server(self, apache: DavServer) -> DavServer:
        return apache


class TestNginx(DavSuite):
    @pytest.fixture
    def server(self, nginx: DavServer) -> DavServer:
        return nginx

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    async def test_odd_names_are_names(
        self, storage: Storage, name: str, everything: Callable[[], set[str]]
    ) -> None:
        if not name.startswith("."):
            await super().test_odd_names_are_names(storage, name, everything)
            return
        await save(storage, name, b"x")  # nginx lists no such names
        assert await load(storage, name) == b"x"
        assert everything() == {name}
