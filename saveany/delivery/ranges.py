"""Which bytes of a file a Range header asks for (RFC 9110, section 14).

Players and download managers ask for one range. Of several ranges those that touch are joined. If more than
one remains, the response is the whole file, as RFC 9110 allows: no client is known that needs several parts.
"""

from __future__ import annotations

import re

from saveany.ranges import Range, RangeSet

_UNIT = re.compile(r"\s*bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)
#: More digits than any size has; longer numbers count as this one, because `int` refuses very long ones.
_HUGE_DIGITS, _HUGE = 19, 10**19
#: Maximum number of ranges; a request with more gets the whole file.
_MAX_RANGES = 100


class Unsatisfiable(Exception):
    """None of the ranges contains a byte of the file (HTTP 416)."""


def select(header: str | None, size: int) -> Range | None:
    """The half-open range of a file of `size` bytes that a Range header asks for; None for the whole file.

    None also stands for a header that must be ignored: another unit than bytes, or invalid syntax. Raises
    `Unsatisfiable`.
    """
    asked = _parse(header) if header is not None else None
    if asked is None:
        return None
    found = [range_ for spec in asked if (range_ := _resolve(spec, size))]
    if not found:
        raise Unsatisfiable
    if found == [(0, 0)] * len(found):  # the last n bytes of an empty file
        return None
    joined = list(RangeSet(found))
    return joined[0] if len(joined) == 1 else None


def _parse(header: str) -> list[tuple[int | None, int | None]] | None:
    """The first and last position of each range, as the header states them; None if it is invalid."""
    if not (match := _UNIT.fullmatch(header)):
        return None
    specs = [each for each in (part.strip(" \t") for part in match[1].split(",", _MAX_RANGES)) if each]
    if not specs or len(specs) > _MAX_RANGES:
        return None
    asked = []
    for spec in specs:
        if not (ends := _SPEC.fullmatch(spec)):
            return None
        first, last = _number(ends[1]), _number(ends[2])
        if first is None and last is None:
            return None
        if first is not None and last is not None and last < first:
            return None
        asked.append((first, last))
    return asked


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _HUGE_DIGITS else _HUGE


def _resolve(spec: tuple[int | None, int | None], size: int) -> Range | None:
    """The bytes of the file that a range contains; None if there are none."""
    first, last = spec
    if first is None:
        return (max(0, size - last), size) if last else None
    if first >= size:
        return None
    return first, size if last is None else min(last + 1, size)
