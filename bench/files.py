"""The files for the measurements, in one public channel of the sandbox. `number` is a message id in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from bench.results import MIB
from saveany.sandbox.content import ContentStream, sha256

CHANNEL = "benchmark"

MIB_64, MIB_256, GIB_4, GIB_1 = 2, 3, 4, 6
EIGHT = range(11, 19)  # 256 MiB each
SMALL = range(1001, 2001)  # 64 KiB each
WARM_UP = 5  # large enough to open all connections, small enough to download quickly

_SIZES = {WARM_UP: 48 * MIB, MIB_64: 64 * MIB, MIB_256: 256 * MIB, GIB_4: 4096 * MIB, GIB_1: 1024 * MIB}
_SMALL_SIZE = 64 << 10
_FIRST_ID = 2_000_000  # of a file in the sandbox; the ids of the samples are smaller


def numbers() -> Iterator[int]:
    """The ids of all messages with a file."""
    yield from (*_SIZES, *EIGHT, *SMALL)


def link(number: int) -> str:
    """The link to a message, as a user would post it."""
    return f"https://t.me/{CHANNEL}/{number}"


def size(number: int) -> int:
    """The size of a file in bytes."""
    return _SIZES.get(number, _SMALL_SIZE if number in SMALL else 256 * MIB)


def content(number: int) -> ContentStream:
    """The bytes of a file. Generating them is 20 times faster than encrypting them, so they are not
    stored."""
    return ContentStream(_FIRST_ID + number, size(number))


@cache
def digest(number: int) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return sha256(content(number))
