from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from saveany.errors import StorageError, StorageUnavailable
from storages.rclone import NAMES, RcloneOptions, RcloneStorage
from tests.contract.suite import MIB, Open, StorageSuite, content, fill, key, load, save
from tests.fixtures.servers import program

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

    async def test_others_read_what_we_write(self, worker: Open, tmp_path: Path) -> None:
        data = content(5 * MIB + 3)
        await save(worker(), "d/ä b.bin", data)
        command = [program("rclone"), "cat", f":local:{tmp_path}/in/here/d/ä b.bin"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == data

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


async def test_a_remote_that_is_not_configured_is_told(tmp_path: Path) -> None:
    storage = RcloneStorage(options(tmp_path, remote="nothere:", config_path=tmp_path / "rclone.conf"))
    with pytest.raises(StorageError, match=r"nothere|config"):
        await storage.probe()
    await storage.close()


@pytest.mark.parametrize("flag", ["--rc-addr=0.0.0.0:1", "--config=/etc/x", "--log-file=/x", "-vv"])
def test_flags_that_could_hurt_are_refused(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        options(tmp_path, flags=[flag])
    assert options(tmp_path, flags=["--tpslimit=5"]).flags == ("--tpslimit=5",)
