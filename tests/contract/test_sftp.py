from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from saveany.errors import StorageError, StorageUnavailable
from storages.base import Services
from storages.sftp import SftpStorage
from tests.contract.suite import MIB, Open, StorageSuite, content, fill, key, load, save
from tests.fixtures import sftp
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.servers import free_port, program
from tests.fixtures.sftp import SftpServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp.openssh(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def folder() -> str:
    return uuid4().hex


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(scratch=tmp_path / "scratch")


def sftp_batch(server: SftpServer, line: str) -> None:
    """Have OpenSSH's own client do something."""
    command = [
        program("sftp"),
        "-q",
        "-b",
        "-",
        "-P",
        str(server.port),
        "-i",
        str(server.login["private_key"]),
    ]
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command.append(f"{server.login['username']}@127.0.0.1")
    subprocess.run(command, input=f"{line}\n".encode(), check=True, capture_output=True)


class Suite(StorageSuite):
    @pytest.fixture
    def open_storage(self, server: SftpServer, folder: str, services: Services) -> Open:
        return lambda: SftpStorage(server.options(folder), services)

    @pytest.fixture
    def everything(self, server: SftpServer, folder: str) -> Callable[[], set[str]]:
        base = server.root / folder
        return lambda: {str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir()}


class TestOpenSsh(Suite):
    async def test_others_read_what_we_write(
        self, server: SftpServer, folder: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/äb.bin", data)
        sftp_batch(server, f'get "{server.root}/{folder}/d/äb.bin" "{tmp_path}/got"')
        assert (tmp_path / "got").read_bytes() == data

    async def test_we_read_what_others_write(
        self, server: SftpServer, folder: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(5 * MIB + 3)
        (tmp_path / "theirs").write_bytes(data)
        storage = worker()
        await storage.mkdir("d")
        sftp_batch(server, f'put "{tmp_path}/theirs" "{server.root}/{folder}/d/ä b.bin"')
        assert await load(storage, "d/ä b.bin") == data

    async def test_a_cut_connection_is_told(
        self, server: SftpServer, folder: str, services: Services
    ) -> None:
        async with fault_proxy(server.port) as link:
            storage = SftpStorage(server.options(folder, port=link.port), services)
            await storage.mkdir("d")
            async with await storage.begin(key(), "d/a.bin", 20 * MIB) as upload:
                await upload.write(0, content(MIB))
                link.drop()
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(20 * MIB)[MIB:], seal=True, start=MIB)
            assert await storage.stat("d/a.bin") is None
            await save(storage, "d/a.bin", content(MIB), key(2))
            await storage.close()

    async def test_no_checkpoint_of_what_failed(
        self, server: SftpServer, folder: str, services: Services
    ) -> None:
        """Writes are on their way at once: after a failure there may be gaps before the end of the file."""
        async with fault_proxy(server.port) as link:
            storage = SftpStorage(server.options(folder, port=link.port), services)
            async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
                await fill(upload, content(8 * MIB))
                ((start, end),) = await upload.sync([(0, 8 * MIB)])
                assert start == 0
                assert 0 < end <= 8 * MIB
                link.drop()
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(12 * MIB), start=8 * MIB)
                with pytest.raises(StorageUnavailable):
                    await upload.sync([(0, 8 * MIB)])
            await storage.close()

    async def test_another_host_key_is_refused(
        self, server: SftpServer, folder: str, services: Services, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        storage = SftpStorage(server.options(folder), services)
        await storage.probe()
        await storage.close()
        with sftp.openssh(tmp_path_factory.mktemp("other")) as other:
            impostor = SftpStorage(server.options(folder, port=other.port), services)
            with pytest.raises(StorageError, match="another host key"):
                await impostor.probe()
            await impostor.close()


class TestRclone(Suite):
    """It writes what comes in any order, and flushes nothing."""

    @pytest.fixture
    def server(self, rclone: SftpServer) -> SftpServer:
        return rclone


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"username": "nobody-here"}, "does not accept this login"),
        ({"private_key": "/no/such/key"}, "private_key cannot be read"),
    ],
)
async def test_what_is_wrong_is_said(
    server: SftpServer, services: Services, changes: dict[str, str], words: str
) -> None:
    storage = SftpStorage(server.options("x", **changes), services)
    with pytest.raises(StorageError, match=words):
        await storage.probe()
    await storage.close()


async def test_a_server_that_is_down_is_told(server: SftpServer, services: Services) -> None:
    storage = SftpStorage(server.options("x", port=free_port()), services)
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    await storage.close()
