"""The files for the measurements, in one public channel of the sandbox. `number` is a message id in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

from bench.results import MIB
from saveany.sandbox.content import ContentStream, sha256

CHANNEL = "benchmark"

MIB_64, MIB_256, GIB_4, GIB_1 = 2, 3, 4, 6
EIGHT = range(11, 19)  # 256 MiB each
SMALL = range(1001, 2001)  # 64 KiB each
WARM_UP = 5  # large enough to open all connections, small enough to download quickly

#: Channels with many messages, in which each tenth has a small file, and the number of their messages.
LONG, LONGEST, FEW = "long_history", "longest_history", "short_history"
LONG_CHATS = {
    LONG: 20_000 if os.environ.get("BENCH_SHORT") else 100_000,
    LONGEST: 100_000 if os.environ.get("BENCH_SHORT") else 1_000_000,
    FEW: 100,
}
#: A channel whose posts have a file each, and the number of them; every hundred posts begin with three
#: albums. `COPY` is an empty channel.
POSTED, COPY = "posted", "copy_of_posted"
POSTS = 1000
#: Channels that go live.
LIVE = ("live_one", "live_two", "live_three")
#: Extension of the files of each so many messages, by which a filter selects them.
WANTED, WANTED_EVERY = "wanted", 200

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
