from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from storages.base import Storage, Usage
from storages.rclone.options import RcloneOptions
from storages.rclone.storage import NAMES, RcloneStorage
from storages.testing import Open
from storages.testing.helpers import HOSTILE_NAMES, MIB, content, fill, key, load, names, save
from tests.contract.suite import StorageSuite
from tests.fixtures import s3, webdav
from tests.fixtures.rclone import Remotes, obscured, remotes
from tests.fixtures.samba import PASSWORD, SHARE, SambaServer, samba
from tests.fixtures.servers import free_port, program
from tests.fixtures.tcp import tcp_server

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def installed() -> None:
    program("rclone")


def options(base: Path, **more: object) -> RcloneOptions:
    fields = {"name": "cloud", "type": "rclone", "remote": f":local:{base}", "base_path": "in/here", **more}
    return RcloneOptions.model_validate(fields)


class TestLocalRemote(StorageSuite):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> Open:
        return lambda: RcloneStorage(options(tmp_path))

    @pytest.fixture
    def everything(self, tmp_path: Path) -> Callable[[], set[str]]:
        base = tmp_path / "in/here"

        def look() -> set[str]:
            found = (str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir())
            return {"/".join(map(NAMES.decode, path.split("/"))) for path in found}

        return look

    async def test_other_programs_read_our_files(self, worker: Open, tmp_path: Path) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/ä b.bin", data)
        command = [program("rclone"), "cat", f":local:{tmp_path}/in/here/d/ä b.bin"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == data

    async def test_files_of_other_programs_are_read(self, worker: Open, tmp_path: Path) -> None:
        data = content(5 * MIB + 3)
        command = [program("rclone"), "rcat", f":local:{tmp_path}/in/here/d/ä b.bin"]
        subprocess.run(command, input=data, capture_output=True, check=True)
        assert await load(worker(), "d/ä b.bin") == data

    async def test_a_daemon_that_is_killed_leaves_nothing_visible(self, worker: Open) -> None:
        storage = worker()
        assert isinstance(storage, RcloneStorage)
        async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
            await upload.write(0, content(MIB))
            daemon = await storage._rcd()
            daemon._process.kill()
            await daemon._process.wait()
            with pytest.raises((StorageUnavailable, StorageError)):
                await fill(upload, content(20 * MIB)[MIB:], seal=True, start=MIB)
        assert await storage.stat("a.bin") is None
        await save(storage, "a.bin", content(MIB), key(2))
        assert await load(storage, "a.bin") == content(MIB)


@pytest.fixture(scope="module")
def crypt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remotes]:
    folder = tmp_path_factory.mktemp("crypt")
    with remotes(
        folder,
        {"crypt": {"type": "crypt", "remote": folder / "files", "password": obscured(PASSWORD)}},
    ) as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[SambaServer]:
    with samba() as server:
        yield server


@pytest.fixture(scope="module")
def smb(tmp_path_factory: pytest.TempPathFactory, server: SambaServer) -> Iterator[Remotes]:
    keys = {"type": "smb", "host": "127.0.0.1", "port": server.port, "user": server.user}
    sections = {
        "smb": {**keys, "pass": obscured(PASSWORD)},
        "wrong": {**keys, "pass": obscured("wr0ng")},
        "down": {**keys, "port": free_port(), "pass": obscured(PASSWORD)},
    }
    with remotes(tmp_path_factory.mktemp("smb"), sections) as found:
        yield found


@pytest.fixture(scope="module")
def dav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remotes]:
    with webdav.rclone() as server:
        keys = {"type": "webdav", "url": server.url, "user": webdav.USER}
        sections = {
            "dav": {**keys, "pass": obscured(webdav.PASSWORD)},
            "wrong": {**keys, "pass": obscured("wr0ng")},
        }
        with remotes(tmp_path_factory.mktemp("dav"), sections) as found:
            yield found


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remotes]:
    with s3.rclone(tmp_path_factory.mktemp("s3")) as server:
        keys = {
            "type": "s3",
            "provider": "Rclone",
            "endpoint": f"http://127.0.0.1:{server.port}",
            "access_key_id": s3.KEY,
            "secret_access_key": s3.SECRET,
        }
        sections = {"s3": keys, "wrong": {**keys, "secret_access_key": "wr0ng"}}
        with remotes(tmp_path_factory.mktemp("remotes"), sections) as found:
            yield found


class TestCrypt(StorageSuite):
    @pytest.fixture
    def base(self) -> str:
        return f"in/{secrets.token_hex(4)}"

    @pytest.fixture
    def open_storage(self, crypt: Remotes, base: str) -> Open:
        return lambda: RcloneStorage(crypt.options("crypt:", base))

    @pytest.fixture
    def everything(self, crypt: Remotes, base: str) -> Callable[[], set[str]]:
        return crypt.everything("crypt:", base)

    @pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if len(name.encode()) <= 143], ids=ascii)
    async def test_unusual_names_are_kept(
        self, storage: Storage, name: str, everything: Callable[[], set[str]]
    ) -> None:
        await super().test_unusual_names_are_kept(storage, name, everything)

    async def test_names_too_long_when_encrypted_are_reported(self, storage: Storage) -> None:
        async with await storage.begin(key(), "x" * 200, 5) as upload:
            await upload.write(0, b"hello")
            with pytest.raises(StorageError, match="needs a shorter name") as caught:
                await upload.commit("x" * 200, 5, replace=False)
            assert type(caught.value) is StorageError  # nobody need try again
            await upload.commit("short", 5, replace=False)
        with pytest.raises(StorageError, match="needs a shorter name"):
            await storage.begin(key(item=1), "x" * 200 + "/a.bin", 5)
        assert await names(storage) == ["short"]

    async def test_stored_files_are_encrypted(self, worker: Open, crypt: Remotes, base: str) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/ä b.bin", data)
        assert crypt.run("cat", f"crypt:{base}/d/ä b.bin") == data
        files = [path for path in crypt.config.parent.glob("files/**/*") if path.is_file()]
        assert all("b.bin" not in path.name and data[:99] not in path.read_bytes() for path in files)


class TestSamba(StorageSuite):
    @pytest.fixture
    def base(self) -> str:
        return f"in/{secrets.token_hex(4)}"

    @pytest.fixture
    def open_storage(self, smb: Remotes, base: str) -> Open:
        return lambda: RcloneStorage(smb.options(f"smb:{SHARE}", base))

    @pytest.fixture
    def everything(self, smb: Remotes, base: str) -> Callable[[], set[str]]:
        return smb.everything(f"smb:{SHARE}/", base)

    async def test_other_clients_read_and_write_the_same_files(
        self, worker: Open, smb: Remotes, base: str, server: SambaServer
    ) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/ä b.bin", data)
        assert (server.files / base / "d/ä b.bin").read_bytes() == data
        smb.run("rcat", f"smb:{SHARE}/{base}/d/theirs.bin", given=data[::-1])
        assert await load(worker(), "d/theirs.bin") == data[::-1]


@pytest.fixture(params=["dav:", "s3:bucket"])
def other_remote(request: pytest.FixtureRequest) -> tuple[Remotes, str]:
    """A remote with another protocol, and its name."""
    found: Remotes = request.getfixturevalue("dav" if request.param == "dav:" else "bucket")
    return found, request.param


def below(remote: str) -> str:
    """The first folder of paths below a remote."""
    return remote if remote.endswith(":") else f"{remote}/"


async def test_other_remotes_fulfill_the_contract(other_remote: tuple[Remotes, str]) -> None:
    found, remote = other_remote
    storage = RcloneStorage(found.options(remote, base := f"in/{secrets.token_hex(4)}"))
    await storage.probe()
    data = content(7 * MIB + 5)
    async with await storage.begin(key(), "d/ä b?.bin", None) as upload:
        await fill(upload, data, seal=True)
        assert await storage.list("d") == []
        await upload.commit("d/ä b?.bin", len(data), replace=False)
    assert found.run("cat", f"{below(remote)}{base}/d/ä b?.bin") == data
    assert await load(storage, "d/ä b?.bin", MIB, MIB + 5) == data[MIB : MIB + 5]
    async with await storage.begin(key(item=1), "d/c.bin", 3) as upload:
        await upload.write(0, b"new")
        with pytest.raises(NameTaken):
            await upload.commit("d/ä b?.bin", 3, replace=False)
        await upload.commit("d/ä b?.bin", 3, replace=True)
    assert await load(storage, "d/ä b?.bin") == b"new"
    async with await storage.begin(key(item=1), "e/copy.bin", 3) as upload:
        await upload.copy(storage, "d/ä b?.bin", lambda size: None)
        await upload.commit("e/copy.bin", 3, replace=False)
    await storage.move("d/ä b?.bin", "e/moved.bin")
    assert [(entry.name, entry.size) for entry in await storage.list("e")] == [
        ("copy.bin", 3),
        ("moved.bin", 3),
    ]
    assert await storage.usage() == Usage()
    await storage.delete("e/copy.bin")
    assert found.everything(below(remote), base)() == {"e/moved.bin"}
    await storage.close()


async def test_aborted_upload_leaves_nothing(other_remote: tuple[Remotes, str]) -> None:
    found, remote = other_remote
    storage = RcloneStorage(found.options(remote, base := f"in/{secrets.token_hex(4)}"))
    async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
        await fill(upload, content(6 * MIB))
    assert found.everything(below(remote), base)() == set()
    await storage.close()


@pytest.mark.parametrize(
    ("fixture", "remote"), [("smb", f"wrong:{SHARE}"), ("dav", "wrong:"), ("bucket", "wrong:bucket")]
)
async def test_wrong_login_is_reported(request: pytest.FixtureRequest, fixture: str, remote: str) -> None:
    storage = RcloneStorage(request.getfixturevalue(fixture).options(remote, "in/here"))
    with pytest.raises(StorageError, match="correct the login") as caught:
        await storage.probe()
    assert type(caught.value) is StorageError  # nobody need try again
    await storage.close()


async def test_server_that_is_down_is_reported(smb: Remotes) -> None:
    storage = RcloneStorage(smb.options(f"down:{SHARE}", "in/here"))
    with pytest.raises(StorageUnavailable, match="refused"):
        await storage.probe()
    await storage.close()


async def test_missing_share_is_reported(smb: Remotes) -> None:
    storage = RcloneStorage(smb.options("smb:nowhere", "in/here"))
    with pytest.raises(StorageError, match=r"share name cannot be found.*check the remote") as caught:
        await storage.probe()
    assert type(caught.value) is StorageError
    await storage.close()


async def test_password_of_an_inline_remote_stays_secret(tmp_path: Path) -> None:
    port = free_port()
    for remote in (
        f":webdav,url='http://me:s3cret@127.0.0.1:{port}':",
        ":webdav,url='http://x',pass=s3cret:",
    ):
        storage = RcloneStorage(options(tmp_path, remote=remote))
        with pytest.raises(StorageError) as caught:
            await storage.probe()
        assert "s3cret" not in f"{caught.value} {storage._options!r}"
        await storage.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("googleapi: Error 403: User Rate Limit Exceeded, userRateLimitExceeded", StorageUnavailable),
        ("googleapi: Error 403: Quota exceeded for quota metric 'Queries'", StorageUnavailable),
        ("googleapi: Error 403: storageQuotaExceeded", NoSpace),
        ("write /x: no space left on device", NoSpace),
        ("couldn't fetch token: invalid_grant: maybe token expired?", StorageError),
        ("something else", StorageUnavailable),
    ],
)
def test_errors_of_services_are_classified(tmp_path: Path, text: str, kind: type[StorageError]) -> None:
    assert type(RcloneStorage(options(tmp_path))._refusal(500, text)) is kind


async def test_unknown_remote_is_reported(tmp_path: Path) -> None:
    storage = RcloneStorage(options(tmp_path, remote="nothere:", config_path=tmp_path / "rclone.conf"))
    with pytest.raises(StorageError, match=r"nothere|config"):
        await storage.probe()
    await storage.close()


@pytest.mark.parametrize("flag", ["--rc-addr=0.0.0.0:1", "--config=/etc/x", "--log-file=/x", "--timeouts=1"])
def test_dangerous_flags_are_refused(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        options(tmp_path, flags=[flag])
    assert options(tmp_path, flags=["--tpslimit=5"]).flags == ("--tpslimit=5",)


def test_common_spellings_of_flags_are_accepted(tmp_path: Path) -> None:
    written = ["--transfers", "4", "-P", "--stats", "5s", "-vv", "--b2-chunk-size=64M", "--checkers", "8"]
    assert options(tmp_path, flags=written).flags == ("--transfers=4", "--b2-chunk-size=64M", "--checkers=8")


@pytest.mark.parametrize(
    "remote",
    [
        ":sftp,host=127.0.0.1,port={port}:",
        ":ftp,host=127.0.0.1,port={port}:x/y",
        ':webdav,url="http://127.0.0.1:{port}/dav":',
        ':s3,endpoint="http://127.0.0.1:{port}":bucket',
        "vault:",
    ],
)
async def test_an_unreachable_server_of_a_remote_is_noticed(remote: str, tmp_path: Path) -> None:
    """No request is needed, also behind other remotes: here a crypt of a union."""
    conf = tmp_path / "rclone.conf"
    async with tcp_server() as server:
        conf.write_text(
            f"[box]\ntype = smb\nhost = 127.0.0.1\nport = {server.port}\n"
            "[all]\ntype = union\nupstreams = box:a /tmp\n[vault]\ntype = crypt\nremote = all:b\n"
        )
        storage = RcloneStorage(options(tmp_path, remote=remote.format(port=server.port), config_path=conf))
        await storage.reach()
    with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{server.port} cannot be reached"):
        await storage.reach()


@pytest.mark.parametrize(
    "more",
    [
        {"remote": "gdrive:"},
        {"remote": ":local:/tmp"},
        {"remote": ':sftp,host=127.0.0.1,port=1,ssh="ssh me@box":'},
        {"remote": ":sftp,host=127.0.0.1,port=x:"},
        {"remote": ":sftp,host=127.0.0.1,port=1:", "flags": ["--sftp-host=elsewhere"]},
    ],
)
async def test_unknown_server_of_a_remote_is_not_checked(more: dict[str, object], tmp_path: Path) -> None:
    await RcloneStorage(options(tmp_path, config_path=tmp_path / "none", **more)).reach()
