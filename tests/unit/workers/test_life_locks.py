"""A worker is known to be dead only if its lock proves it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.waiting import blocking_until
from workers import life_locks
from workers.life_locks import LifeLock

_HOLDER = """
import pathlib, sys, time
from workers.life_locks import LifeLock
LifeLock(pathlib.Path(sys.argv[1]), "w1").acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which holds the lock of worker w1."""
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def die(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()


async def dead_workers(folder: Path) -> list[str]:
    found: list[str] = []

    async def recover(worker: str) -> None:
        found.append(worker)

    await LifeLock(folder, "w2").for_each_dead_worker(recover)
    return found


async def test_a_killed_worker_is_dead_and_is_recovered_once(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    assert await dead_workers(tmp_path) == []
    die(holder)
    assert await dead_workers(tmp_path) == ["w1"]
    assert await dead_workers(tmp_path) == []


async def test_a_frozen_worker_is_not_dead(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    blocking_until(
        lambda: Path(f"/proc/{holder.pid}/stat").read_text().split()[2] == "T", within=10, what="the freeze"
    )
    assert await dead_workers(tmp_path) == []


async def test_a_worker_is_recovered_again_if_that_failed(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    die(holder)

    async def fail(worker: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await LifeLock(tmp_path, "w2").for_each_dead_worker(fail)
    assert await dead_workers(tmp_path) == ["w1"]


async def test_a_worker_that_ended_is_not_dead(tmp_path: Path) -> None:
    lock = LifeLock(tmp_path, "w1")
    lock.acquire()
    lock.release()
    assert await dead_workers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_worker_does_not_find_itself(tmp_path: Path) -> None:
    lock = LifeLock(tmp_path, "w1")
    lock.acquire()
    found: list[str] = []

    async def recover(worker: str) -> None:
        found.append(worker)

    await lock.for_each_dead_worker(recover)
    assert await dead_workers(tmp_path) == found == []
    lock.release()


async def test_a_copy_of_the_folder_proves_nothing(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """The worker lives, and holds the lock of the original file."""
    copy = tmp_path.parent / "copy"
    shutil.copytree(tmp_path, copy)
    assert await dead_workers(copy) == []
    die(holder)
    assert await dead_workers(copy) == []
    assert await dead_workers(tmp_path) == ["w1"]


async def test_another_machine_or_a_reboot_proves_nothing(
    tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be shared over a network that does not share locks."""
    die(holder)
    other = tmp_path.parent / "boot_id"
    other.write_text("another system\n")
    with monkeypatch.context() as patch:
        patch.setattr(life_locks, "_BOOT_ID", other)
        assert await dead_workers(tmp_path) == []
        patch.setattr(life_locks, "_BOOT_ID", tmp_path.parent / "missing")
        assert await dead_workers(tmp_path) == []
    assert await dead_workers(tmp_path) == ["w1"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"worker": 1}', b"\xff" * 9000])
async def test_a_damaged_lock_proves_nothing_and_is_removed_after_a_day(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "x.lock"
    file.write_bytes(content)
    assert await dead_workers(tmp_path) == []
    assert file.exists()
    os.utime(file, (1, 1))
    assert await dead_workers(tmp_path) == []
    assert not file.exists()


async def test_a_worker_can_do_without_a_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    lock = LifeLock(tmp_path / "file", "w1")
    lock.acquire()
    assert await dead_workers(tmp_path / "file") == []
    lock.release()
