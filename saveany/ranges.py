"""Half-open ranges of bytes: `(start, end)` holds the bytes from `start` up to, but not including, `end`."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence

Range = tuple[int, int]

_CONTENT_RANGE = re.compile(r"(?:bytes)?[ =]*([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


class RangeSet:
    """A set of bytes as disjoint ranges, in order; adjacent ranges are merged."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add the bytes from `start` to `end`."""
        if start >= end:
            return
        apart = []
        for each in self._ranges:
            if each[1] < start or end < each[0]:
                apart.append(each)
            else:
                start, end = min(start, each[0]), max(end, each[1])
        insort(apart, (start, end))
        self._ranges = apart

    def is_exactly(self, size: int) -> bool:
        """Whether the set holds the bytes from 0 to `size`, and no others."""
        return self._ranges == ([(0, size)] if size else [])

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __str__(self) -> str:
        return ", ".join(f"{start} to {end}" for start, end in self._ranges) or "none"


def missing(have: Sequence[Range], size: int) -> list[Range]:
    """The ranges of a file of `size` bytes that are not in `have`, which is ascending and disjoint."""
    gaps, at = [], 0
    for start, end in [*have, (size, size)]:
        if at < min(start, size):
            gaps.append((at, min(start, size)))
        at = end
    return gaps


def split(ranges: Iterable[Range], max_bytes: int) -> Iterator[Range]:
    """The same bytes, in ranges of at most `max_bytes` bytes."""
    for start, end in ranges:
        for at in range(start, end, max_bytes):
            yield at, min(at + max_bytes, end)


def contains(ranges: Iterable[Range], start: int, end: int) -> bool:
    """Whether one of the ranges holds all bytes from `start` to `end`."""
    return any(first <= start and end <= last for first, last in ranges)


def range_header(start: int, end: int) -> str:
    """The value of an HTTP `Range` header that requests these bytes."""
    return f"bytes={start}-{end - 1}"


def parse_content_range(value: str) -> tuple[Range, int | None] | None:
    """The range in an HTTP `Content-Range` header and the size of the file, None for `*`.

    None for a header in another form. Some servers write `bytes=` or leave out `bytes`; both are accepted.
    """
    found = _CONTENT_RANGE.fullmatch(value.strip())
    if not found:
        return None
    first, last, size = found.groups()
    return (int(first), int(last) + 1), None if size == "*" else int(size)
