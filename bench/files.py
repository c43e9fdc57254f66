"""The files that are measured with: one public channel of the sandbox. `number` is a message id in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from bench.results import MIB
from saveany.sandbox.content import ContentStream, sha256

CHANNEL = "benchmark"

MIB_64, MIB_256, GIB_4, GIB_1 = 2, 3, 4, 6
EIGHT = range(11, 19)  # 256 MiB each
SMALL = range(1001, 2001)  # 64 KiB each
WARM_UP = 5  # big enough for all connections to be made, small enough to be no burden

_SIZES = {WARM_UP: 48 * MIB, MIB_64: 64 * MIB, MIB_256: 256 * MIB, GIB_4: 4096 * MIB, GIB_1: 1024 * MIB}
_SMALL_SIZE = 64 << 10
_FIRST_ID = 2_000_000  # of a file in the sandbox; the samples have smaller ones


def numbers() -> Iterator[int]:
    """Every message that has a file."""
    yield from (*_SIZES, *EIGHT, *SMALL)


def link(number: int) -> str:
    """What a user would post."""
    return f"https://t.me/{CHANNEL}/{number}"


def size(number: int) -> int:
    """Bytes of a file."""
    return _SIZES.get(number, _SMALL_SIZE if number in SMALL else 256 * MIB)


def content(number: int) -> ContentStream:
    """The bytes of a file; made 20 times faster than they can be encrypted, so nothing need be kept."""
    return ContentStream(_FIRST_ID + number, size(number))


@cache
def digest(number: int) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return sha256(content(number))
