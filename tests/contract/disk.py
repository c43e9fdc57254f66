"""Changes to the disk of a `local` storage that bypass the storage."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from saveany import disk
from storages.local import jail


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def exchange(one: Path, other: Path) -> None:
    """Let two names change places (RENAME_EXCHANGE of linux/fs.h)."""
    jail._call("renameat2", -1, bytes(one), -1, bytes(other), 2)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, code: int) -> None:
    def call(name: str, *args: object) -> None:
        if name == function:
            raise OSError(code, os.strerror(code))
        really(name, *args)

    really = disk.libc_call
    monkeypatch.setattr(jail, "_call", call)
    monkeypatch.setattr(disk, "libc_call", call)


@contextmanager
def mounted(folder: Path, mebibytes: int = 2) -> Iterator[None]:
    """A small disk. Mounting it requires root, which CI has."""
    folder.mkdir(exist_ok=True)
    options = f"size={mebibytes}m"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "saveany-test", folder], capture_output=True, check=False
    )
    if done.returncode and not os.environ.get("CI"):
        pytest.skip("cannot mount a small disk here")
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
