from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncssh
import pytest
from pydantic import ValidationError

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from storages.base import Services, Usage
from storages.sftp.storage import SftpStorage
from storages.testing import Open
from storages.testing.helpers import MIB, content, fill, key, load, names, save
from tests.contract.disk import mounted
from tests.contract.suite import StorageSuite
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


@pytest.fixture(scope="module")
def chrooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp.chrooted(tmp_path_factory.mktemp("chrooted")) as server:
        yield server


@pytest.fixture(scope="module")
def proftpd() -> Iterator[SftpServer]:
    with sftp.proftpd() as server:
        yield server


@pytest.fixture(scope="module")
def asyncssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp.asyncssh(tmp_path_factory.mktemp("asyncssh")) as server:
        yield server


@pytest.fixture
def folder() -> str:
    return uuid4().hex


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(scratch=tmp_path / "scratch")


def leaves(pid: int) -> list[int]:
    """The processes below a process that have no children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [leaf for child in children for leaf in leaves(int(child)) or [int(child)]]


def _soon(timeout: Callable[[float | None], asyncio.Timeout], seconds: float | None) -> asyncio.Timeout:
    return timeout(seconds and 0.5)


def sftp_batch(server: SftpServer, line: str) -> None:
    """Run commands with OpenSSH's own client."""
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
    async def test_other_programs_read_our_files(
        self, server: SftpServer, folder: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/äb.bin", data)
        sftp_batch(server, f'get "{server.root}/{folder}/d/äb.bin" "{tmp_path}/got"')
        assert (tmp_path / "got").read_bytes() == data

    async def test_files_of_other_programs_are_read(
        self, server: SftpServer, folder: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(5 * MIB + 3)
        (tmp_path / "theirs").write_bytes(data)
        storage = worker()
        await storage.mkdir("d")
        sftp_batch(server, f'put "{tmp_path}/theirs" "{server.root}/{folder}/d/ä b.bin"')
        assert await load(storage, "d/ä b.bin") == data

    async def test_broken_connection_is_reported(
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

    async def test_failed_writes_are_not_in_the_checkpoint(
        self, server: SftpServer, folder: str, services: Services
    ) -> None:
        """Several writes are in flight: after a failure the file may have gaps."""
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
            with pytest.raises(StorageError, match="host key of the server is not host_key"):
                await impostor.probe()
            await impostor.close()

    async def test_an_encrypted_key_needs_its_passphrase(
        self, server: SftpServer, folder: str, services: Services, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        private = asyncssh.read_private_key(server.login["private_key"])
        secret.write_bytes(private.export_private_key("pkcs8-pem", "open sesame"))
        for passphrase, words in (("", "Passphrase must be"), ("wrong", "private_key cannot be used")):
            options = server.options(folder, private_key=secret, passphrase=passphrase)
            storage = SftpStorage(options, services)
            with pytest.raises(StorageError, match=words):
                await storage.probe()
        storage = SftpStorage(server.options(folder, private_key=secret, passphrase="open sesame"), services)
        await storage.probe()
        await storage.close()

    async def test_names_that_are_not_utf8_are_listed_with_replacement_characters(
        self, server: SftpServer, folder: str, worker: Open
    ) -> None:
        storage = worker()
        await storage.mkdir("d")
        (server.root / folder / "d" / os.fsdecode(b"\xe4.bin")).write_bytes(b"theirs")
        await save(storage, "d/a.bin", b"ours", key(2))
        assert await names(storage, "d") == ["a.bin", "\ufffd.bin"]

    @pytest.mark.parametrize("leads", ["file", "folder", "nowhere"])
    async def test_a_symbolic_link_counts_as_a_used_name(
        self, server: SftpServer, folder: str, worker: Open, leads: str
    ) -> None:
        storage, base = worker(), server.root / folder
        await storage.mkdir("folder")
        (base / "file").write_bytes(b"theirs")
        (base / "link").symlink_to(leads)
        with pytest.raises(NameTaken):
            await save(storage, "link", b"ours")
        assert (base / "link").is_symlink()

    async def test_a_crashed_sftp_process_is_replaced(
        self, server: SftpServer, folder: str, services: Services
    ) -> None:
        """The connection stays open, because the SFTP program is a separate process of the server."""
        storage = SftpStorage(server.options(folder), services)
        others = set(leaves(server.pid))
        await storage.probe()
        (sftp_program,) = {*leaves(server.pid)} - others
        os.kill(sftp_program, signal.SIGKILL)
        with suppress(StorageUnavailable):
            await storage.probe()
        await storage.probe()
        await storage.close()

    async def test_a_hanging_sftp_process_is_reported(
        self, server: SftpServer, folder: str, services: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = SftpStorage(server.options(folder), services)
        others = set(leaves(server.pid))
        await storage.probe()
        (sftp_program,) = {*leaves(server.pid)} - others
        os.kill(sftp_program, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr("storages.sftp.storage.asyncio.timeout", partial(_soon, asyncio.timeout))
            with pytest.raises(StorageUnavailable):
                await storage.stat("a")
        await storage.probe()
        await storage.close()
        os.kill(sftp_program, signal.SIGKILL)

    async def test_full_disk_is_reported(self, server: SftpServer, folder: str, worker: Open) -> None:
        storage = worker()
        await storage.mkdir("")
        with mounted(server.root / folder / "small"):
            with pytest.raises(NoSpace, match="full"):
                await save(storage, "small/a.bin", content(5 * MIB))
            await storage.close()


async def test_a_server_without_extensions_is_supported(tmp_path: Path, services: Services) -> None:
    with sftp.openssh(tmp_path, without="posix-rename,statvfs,fsync,limits") as server:
        storage = SftpStorage(server.options("x"), services)
        await save(storage, "d/a.bin", b"old")
        async with await storage.begin(key(item=2), "d/a.bin", 3 * MIB) as upload:
            await fill(upload, content(3 * MIB))
            with pytest.raises(NameTaken):
                await upload.commit("d/a.bin", 3 * MIB, replace=False)
            await upload.commit("d/a.bin", 3 * MIB, replace=True)
        assert await load(storage, "d/a.bin") == content(3 * MIB)
        assert [path.name for path in (server.root / "x/d").iterdir()] == ["a.bin"]
        assert await storage.usage() == Usage()
        await storage.close()


def test_an_invalid_host_key_is_refused(server: SftpServer) -> None:
    host = (server.root.parent / "host.pub").read_text()
    assert server.options("x", host_key=host)
    for wrong in ("SHA256:abcdef", "ssh-ed25519 AAAA", f"127.0.0.1 {host}"):
        with pytest.raises(ValidationError, match="must be one public key"):
            server.options("x", host_key=wrong)


class TestRclone(Suite):
    """A server that writes in any order and flushes nothing."""

    @pytest.fixture
    def server(self, rclone: SftpServer) -> SftpServer:
        return rclone


class TestChrooted(Suite):
    @pytest.fixture
    def server(self, chrooted: SftpServer) -> SftpServer:
        return chrooted


class TestProftpd(Suite):
    @pytest.fixture
    def server(self, proftpd: SftpServer) -> SftpServer:
        return proftpd


class TestAsyncSsh(Suite):
    @pytest.fixture
    def server(self, asyncssh_server: SftpServer) -> SftpServer:
        return asyncssh_server


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"username": "nobody-here"}, "refuses the login"),
        ({"private_key": "/no/such/key"}, "private_key cannot be used: .*No such file"),
        ({"private_key": "/etc/hosts"}, "private_key cannot be used: Invalid"),
    ],
)
async def test_wrong_options_are_reported(
    server: SftpServer, services: Services, changes: dict[str, str], words: str
) -> None:
    storage = SftpStorage(server.options("x", **changes), services)
    with pytest.raises(StorageError, match=words):
        await storage.probe()
    await storage.close()


async def test_server_that_is_down_is_reported(server: SftpServer, services: Services) -> None:
    storage = SftpStorage(server.options("x", port=free_port()), services)
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    await storage.close()
