"""Data, names and short calls for tests of a storage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings

from storages.base import Receipt, Storage, Upload, UploadKey

F = TypeVar("F", bound=Callable[..., Any])
MIB: Final = 1 << 20
#: Opens one more storage object on the same files, as another worker would.
Open = Callable[[], Storage]
RELAXED = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
#: Paths that every storage must refuse.
ESCAPES = [
    "",
    "/",
    "/etc/passwd",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    "a\0b",
    "\0",
    "x" * 256,
    "é" * 128,
    "a/" + "x" * 256,
    "half \ud800 pair",
]
#: Names that every storage must keep exactly as they are.
HOSTILE_NAMES = [
    "a b",
    " leading and trailing ",
    "trailing.",
    "...",
    "..a",
    ".hidden",
    "-rf",
    "~",
    "$HOME",
    "%2e%2e%2f",
    "..\\..\\x",
    "C:\\x",
    "CON",
    "new\nline",
    "tab\t",
    "\x1b[31mred",
    "quote'\"`",
    "*?<>|:;&",
    "naïve",
    "файл",
    "文件.pdf",
    "👩‍👩‍👧‍👦.jpg",
    "\u202egnp.exe",
    "x" * 255,
    "é" * 127 + "x",
]


def needs(*capabilities: str) -> Callable[[F], F]:
    """Run the test only for storages with these capabilities; "-name": only for storages without that one."""

    def mark(test: F) -> F:
        test.needs = (*required(test), *capabilities)  # type: ignore[attr-defined]  # a function has any attributes
        return test

    return mark


def required(test: Callable[..., Any]) -> tuple[str, ...]:
    """The capabilities that `needs` has named for a test."""
    found: tuple[str, ...] = getattr(test, "needs", ())
    return found


def content(size: int, seed: int = 0) -> bytes:
    """Random bytes, the same for each size and seed."""
    return random.Random(seed).randbytes(size)


def key(epoch: int = 1, task: str = "01J-task_A", item: int = 0) -> UploadKey:
    """The key of an upload."""
    return UploadKey(task, item, epoch)


def parts(data: bytes, size: int = MIB) -> list[tuple[int, bytes]]:
    """The data cut into parts, each with its offset."""
    return [(offset, data[offset : offset + size]) for offset in range(0, len(data), size)]


async def fill(upload: Upload, data: bytes, *, seal: bool = False, start: int = 0) -> None:
    """Write the data part by part, from `start` on."""
    for offset, part in parts(data):
        await upload.write(start + offset, part)
    if seal:
        await upload.seal(start + len(data))


async def save(storage: Storage, path: str, data: bytes, owner: UploadKey | None = None) -> Receipt:
    """Save a file from begin to commit."""
    async with await storage.begin(owner or key(), path, len(data)) as upload:
        await fill(upload, data)
        return await upload.commit(path, len(data), replace=False)


async def load(storage: Storage, path: str, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of a file, or a range of them."""
    async with await storage.open(path) as reader:
        return b"".join([piece async for piece in reader.read(start, end)])


async def names(storage: Storage, path: str = "") -> list[str]:
    """The names in a folder."""
    return [entry.name for entry in await storage.list(path)]


async def ticks(count: int) -> None:
    """Let the event loop run this many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class Crash(BaseException):
    """The process crashes at this point; no code under test may catch it."""


def crash(*_: object, **__: object) -> None:
    """In place of a method at which the process crashes."""
    raise Crash
