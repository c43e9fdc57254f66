from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from storages.base import Range, UploadKey
from storages.ftp.storage import NAMES, FtpStorage
from storages.testing import Open
from storages.testing.helpers import MIB, content, fill, key, load, names, save
from tests.contract.suite import StorageSuite
from tests.fixtures import ftp, ftpd
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.ftp import PASSWORD, FtpServer
from tests.fixtures.servers import folder_for_unprivileged_server, free_port, program


@pytest.fixture(scope="module")
def modern_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp.pyftpdlib(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="module")
def basic_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    """A server with the commands of 1985 and TLS."""
    with ftp.pyftpdlib(
        tmp_path_factory.mktemp("old"), "explicit", without=("MLSD", "MLST", "EPSV")
    ) as server:
        yield server


@pytest.fixture(scope="module")
def implicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp.pyftpdlib(tmp_path_factory.mktemp("implicit"), "implicit") as server:
        yield server


@pytest.fixture(autouse=True)
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users do not wait for remote clean-up; the tests check it, so they wait for slow servers."""
    monkeypatch.setattr("storages.ftp.storage._ABORT_SECONDS", 60)


@pytest.fixture
def folder() -> str:
    return uuid4().hex


#: What starts a server.
Start = Callable[[], AbstractContextManager[FtpServer]]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[Start], FtpServer]]:
    """Starts each server when the first test needs it."""
    with ExitStack() as stack:
        yield cache(lambda start: stack.enter_context(start()))


class Suite(StorageSuite):
    @pytest.fixture
    def open_storage(self, server: FtpServer, folder: str) -> Open:
        return lambda: FtpStorage(server.options(folder))

    @pytest.fixture
    def everything(self, server: FtpServer, folder: str) -> Callable[[], set[str]]:
        base = server.root / folder

        def names() -> set[str]:
            found = (path.relative_to(base) for path in base.rglob("*") if not path.is_dir())
            return {"/".join(map(NAMES.decode, path.parts)) for path in found}

        return names

    async def test_others_read_what_we_write(self, server: FtpServer, folder: str, worker: Open) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/äb.bin", data)
        scheme = "ftps" if server.tls == "implicit" else "ftp"
        url = f"{scheme}://127.0.0.1:{server.port}/{server.place(folder)}/d/%C3%A4b.bin"
        tls = ["--ssl-reqd", "--cacert", server.ca_file] if server.ca_file else []
        command = [program("curl"), "-sS", "--user", f"{server.user}:{PASSWORD}", *tls, url]
        got = subprocess.run(command, check=True, capture_output=True)
        assert got.stdout == data


class TestPlain(Suite):
    @pytest.fixture
    def server(self, modern_server: FtpServer) -> FtpServer:
        return modern_server

    async def test_we_read_what_others_write(
        self, server: FtpServer, folder: str, worker: Open, tmp_path: Path
    ) -> None:
        data = content(3 * MIB + 1)
        (tmp_path / "file").write_bytes(data)
        url = f"ftp://127.0.0.1:{server.port}/{server.place(folder)}/e/f.bin"
        command = [program("curl"), "-sS", "--user", f"{server.user}:{PASSWORD}", "--ftp-create-dirs", "-T"]
        subprocess.run([*command, str(tmp_path / "file"), url], check=True, capture_output=True)
        assert await load(worker(), "e/f.bin") == data

    async def test_broken_connection_is_reported(self, server: FtpServer, folder: str) -> None:
        """The proxy breaks the control connection, and the server closes the data connection with it."""
        async with fault_proxy(server.port) as link:
            storage = FtpStorage(server.options(folder, port=link.port))
            await storage.mkdir("d")
            async with await storage.begin(key(), "d/a.bin", 20 * MIB) as upload:
                await upload.write(0, content(MIB))
                link.drop()
                with pytest.raises(StorageUnavailable):
                    await fill(upload, content(20 * MIB)[MIB:], seal=True, start=MIB)
            assert await storage.stat("d/a.bin") is None
            await save(storage, "d/a.bin", content(MIB), key(2))
            await storage.close()

    async def test_idle_connection_is_replaced(self, server: FtpServer, folder: str) -> None:
        async with fault_proxy(server.port) as link:
            storage = FtpStorage(server.options(folder, port=link.port))
            await storage.probe()
            link.drop()
            for client in storage._connections._idle:
                client.used = 0.0
            await storage.probe()
            await storage.close()


class TestWithoutMlsdWithTls(Suite):
    @pytest.fixture
    def server(self, basic_server: FtpServer) -> FtpServer:
        return basic_server


class TestImplicitTls(Suite):
    @pytest.fixture
    def server(self, implicit: FtpServer) -> FtpServer:
        return implicit


class Daemon(Suite):
    """A common FTP server."""

    start: Start

    @pytest.fixture
    def server(self, servers: Callable[[Start], FtpServer]) -> FtpServer:
        return servers(self.start)


class TestVsftpd(Daemon):
    start = partial(ftpd.vsftpd, "explicit")


class TestProftpd(Daemon):
    start = partial(ftpd.proftpd, "implicit")


class TestPureFtpd(Daemon):
    start = partial(ftpd.pure_ftpd, "explicit")


@contextmanager
def _pyftpdlib(**how: Any) -> Iterator[FtpServer]:
    with folder_for_unprivileged_server() as folder, ftp.pyftpdlib(folder, "explicit", **how) as server:
        yield server


#: Each server with each way to have TLS that it knows, whether or not it wants sessions to go on; its whole
#: suite would tell no more than `test_every_form_of_tls_works`.
TLS: dict[str, Start] = {
    "pure_ftpd": partial(ftpd.pure_ftpd, "explicit"),
    **{
        f"{daemon.__name__} {tls} {reuse=}": partial(daemon, tls, reuse=reuse)
        for daemon in (ftpd.vsftpd, ftpd.proftpd)
        for tls in ("explicit", "implicit")
        for reuse in (True, False)
    },
    **{
        f"pyftpdlib {version} {tickets=}": partial(_pyftpdlib, version=version, tickets=tickets)
        for version in ("TLSv1_2", "TLSv1_3")
        for tickets in (True, False)
    },
}


@pytest.mark.parametrize("start", TLS.values(), ids=TLS)
async def test_every_form_of_tls_works(start: Start, folder: str) -> None:
    """Sequential and parallel transfers, a partial read, and a resumed upload."""
    with start() as server:
        storage = FtpStorage(server.options(folder))
        data = content(3 * MIB + 1)
        async with await storage.begin(key(), "d/a.bin", len(data)) as upload:
            await fill(upload, data[: 2 * MIB])
        assert await put(storage, "d/a.bin", data, key(2), [(0, MIB)]) == ((0, MIB),)
        assert await load(storage, "d/a.bin", MIB, MIB + 5) == data[MIB : MIB + 5]
        assert await load(storage, "d/a.bin") == data
        await asyncio.gather(*(save(storage, f"e/{n}", data, key(item=n)) for n in range(4)))
        await storage.move("e/0", "d/b.bin")
        for _ in range(3):
            assert await names(storage, "d") == ["a.bin", "b.bin"]
        assert (server.root / folder / "d/b.bin").read_bytes() == data
        await storage.close()


async def test_old_connection_is_not_reused(
    basic_server: FtpServer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have forgotten its TLS session."""
    storage = FtpStorage(basic_server.options(folder))
    await save(storage, "a.bin", b"1")
    (first,) = storage._connections._idle
    monkeypatch.setattr("storages.ftp.client._MAX_AGE_SECONDS", -1.0)
    assert await load(storage, "a.bin") == b"1"
    assert first.stream.writer.is_closing()
    assert not storage._connections._idle
    await storage.close()


@pytest.mark.parametrize("start", [partial(ftpd.vsftpd, "none"), partial(ftpd.pure_ftpd, "none")])
async def test_names_without_our_encoding_are_read(start: Start, folder: str) -> None:
    with start() as server:
        storage = FtpStorage(server.options(folder))
        await storage.mkdir("d")
        (server.root / folder / "d*").mkdir()
        for name in ("*", "a*b 100%41"):
            (server.root / folder / "d" / name).write_bytes(b"theirs")
            (server.root / folder / "d*" / name).write_bytes(b"theirs")
        for place in ("d", "d*"):
            assert await names(storage, place) == ["*", "a*b 100%41"]
            assert await load(storage, f"{place}/*") == b"theirs"
        await storage.delete("d/*")
        await storage.move("d/a*b 100%41", "a.bin")
        assert await names(storage, "d") == []
        assert await load(storage, "a.bin") == b"theirs"
        with pytest.raises(NameTaken):
            await storage.move("a.bin", "d*/a*b 100%41")
        await storage.close()


async def test_a_server_without_sizes_is_supported(modern_server: FtpServer, folder: str) -> None:
    storage = FtpStorage(modern_server.options(folder))
    await save(storage, "a.bin", b"12345")
    await storage._connections._idle[-1].command("OPTS MLST type;", "2xx")
    assert await load(storage, "a.bin") == b"12345"
    await storage.close()


@pytest.mark.parametrize("without", ["", "SIZE", "MDTM"])
async def test_stat_without_extensions(tmp_path: Path, without: str) -> None:
    """A file and its folder are found, whichever of the newer commands the server lacks."""
    with ftp.pyftpdlib(tmp_path, without=("MLSD", "MLST", without)) as server:
        storage = FtpStorage(server.options("x"))
        await save(storage, "d/a.bin", b"12345")
        file, there = await storage.stat("d/a.bin"), await storage.stat("d")
        assert file is not None
        assert there is not None
        assert (file.size, file.is_dir, there.is_dir) == (5, False, True)
        assert bool(file.modified_at) == (without != "MDTM")
        assert await storage.stat("d/b.bin") is await storage.stat("e/a.bin") is None
        await storage.close()


async def put(
    storage: FtpStorage, path: str, data: bytes, owner: UploadKey, keep: Sequence[Range] = ()
) -> Sequence[Range]:
    """Replace the file; returns the bytes that were kept."""
    async with await storage.begin(owner, path, len(data), keep) as upload:
        start = upload.kept[0][1] if upload.kept else 0
        await fill(upload, data[start:], start=start)
        await upload.commit(path, len(data), replace=True)
    return upload.kept


async def test_files_are_replaced_where_a_rename_needs_a_free_name(tmp_path: Path) -> None:
    with ftp.pyftpdlib(tmp_path, overwrites=False) as server:
        storage = FtpStorage(server.options("x"))
        await save(storage, "d/a.bin", b"old")
        await put(storage, "d/a.bin", b"new", key(item=2))
        assert [path.read_bytes() for path in (server.root / "x/d").iterdir()] == [b"new"]
        await storage.close()


async def test_failed_replacement_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ftp.pyftpdlib(tmp_path, overwrites=False) as server:
        storage = FtpStorage(server.options("x"))
        await save(storage, "a.bin", b"old")
        really = FtpStorage._renamed

        async def renamed(self: FtpStorage, path: str, to: str, *, taken: bool) -> bool:
            if path.endswith(".partial") and not taken:
                raise StorageError("the server refuses")
            return await really(self, path, to, taken=taken)

        monkeypatch.setattr(FtpStorage, "_renamed", renamed)
        with pytest.raises(StorageError, match="refuses"):
            await put(storage, "a.bin", b"new", key(item=2))
        assert await load(storage, "a.bin") == b"old"
        await storage.close()


@pytest.mark.parametrize("lack", [{"without": ("REST",)}, {"restarts": False}])
async def test_a_server_that_cannot_resume_is_supported(tmp_path: Path, lack: Any) -> None:
    """The first attempt after an interruption fails, and the next one starts over."""
    with ftp.pyftpdlib(tmp_path, **lack) as server:
        storage = FtpStorage(server.options("x"))
        data = content(3 * MIB)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await fill(upload, data[: 2 * MIB])
        keep = [(0, MIB)]
        with pytest.raises(StorageUnavailable, match="cannot resume"):
            await put(storage, "a.bin", data, key(2), keep)
        assert await put(storage, "a.bin", data, key(3), keep) == ()
        assert await load(storage, "a.bin") == data
        await storage.close()


async def test_a_missing_permission_to_rename_is_reported(tmp_path: Path) -> None:
    with ftp.pyftpdlib(tmp_path, may="elradmwMT") as server:
        storage = FtpStorage(server.options("x"))
        with pytest.raises(StorageError, match="refuses to rename it"):
            await save(storage, "a.bin", b"1")
        await storage.close()


async def test_names_in_another_encoding_are_listed_with_replacement_characters(tmp_path: Path) -> None:
    with ftp.pyftpdlib(tmp_path, encoding="latin-1", banner="Grüße") as server:
        storage, theirs = FtpStorage(server.options("x")), FtpStorage(server.options("x", encoding="latin-1"))
        await save(theirs, "ä.bin", b"1")
        await save(storage, "a.bin", b"2", key(2))
        assert await names(storage) == ["a.bin", "\ufffd.bin"]
        assert await load(theirs, "ä.bin") == b"1"
        await storage.close()
        await theirs.close()


async def test_a_server_that_confirms_a_file_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers move a file elsewhere before they confirm it."""
    monkeypatch.setattr("storages.ftp.client.SILENCE", 0.4)
    with ftp.pyftpdlib(tmp_path, slow=0.8) as server:
        storage = FtpStorage(server.options("x"))
        await save(storage, "a.bin", b"1")
        await storage.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "another"}, "refuses the login"),
        ({"ca_file": ""}, "certificate is not trusted"),
        ({"ca_file": "/no/such/file"}, "ca_file cannot be used"),
        ({"host": "localhost"}, "a name that the certificate is for"),
    ],
)
async def test_wrong_options_are_reported(
    basic_server: FtpServer, changes: dict[str, str], words: str
) -> None:
    storage = FtpStorage(basic_server.options("x", **changes))
    with pytest.raises(StorageError, match=words) as caught:
        await storage.probe()
    assert PASSWORD not in str(caught.value)
    await storage.close()


async def test_server_without_tls_is_reported(modern_server: FtpServer) -> None:
    storage = FtpStorage(modern_server.options("x", tls="explicit"))
    with pytest.raises(StorageError, match="set tls to"):
        await storage.probe()
    await storage.close()


def test_an_unknown_encoding_is_refused(modern_server: FtpServer) -> None:
    with pytest.raises(ValidationError, match="name of an encoding"):
        modern_server.options("x", encoding="utf-99")


async def test_server_that_is_down_is_reported(modern_server: FtpServer) -> None:
    storage = FtpStorage(modern_server.options("x", port=free_port()))
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    await storage.close()
