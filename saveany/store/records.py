"""Reading records one by one: an unreadable record is skipped, logged and counted, and affects no other.

A record is unreadable if it is damaged or was written by a newer version. A version that changes the meaning
of a record writes `{"v":N,` at its start; this version reads records up to `VERSION`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from saveany.logs import get_logger
from saveany.texts import gettext_noop

VERSION = 1
#: Seconds before the same record is logged and counted again, and the number of records remembered for that.
_REPEAT_SECONDS, _MAX_REMEMBERED = 3600.0, 10_000
#: Maximum number of records that are logged per minute; all are counted. Seconds in a minute.
_MAX_LINES, _MINUTE = 20, 60.0

R = TypeVar("R")
T = TypeVar("T")

_marked = re.compile(rb'\{"v":\s*(\d{1,9})')

log = get_logger("saveany.store")


class Unreadable(ValueError):
    """A record cannot be read; the text says why."""


_BAD = (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError, IndexError)


def check_version(raw: bytes) -> None:
    """Raise `Unreadable` for a record written by a newer version."""
    if raw.startswith(b'{"v":') and (found := _marked.match(raw)) and int(found[1]) > VERSION:
        raise Unreadable(f"it was written by a newer version of SaveAny (format {int(found[1])})")


def decoder(type_: type[T]) -> Callable[[bytes], T]:
    """A function that reads a JSON record of this type; it raises `Unreadable` for a newer version."""
    decode = msgspec.json.Decoder(type_).decode

    def read(raw: bytes) -> T:
        check_version(raw)
        return decode(raw)

    return read


def reason(error: Exception) -> str:
    """What is wrong with a record, without any of its content."""
    if isinstance(error, Unreadable):
        return str(error)
    return gettext_noop("it is damaged")


def text(raw: bytes) -> str:
    """An id or a name, even if it is damaged."""
    return raw.decode("utf-8", "replace")


class Records:
    """Reads records, and remembers which could not be read."""

    def __init__(self) -> None:
        self._silent_until: dict[tuple[str, str], float] = {}  # when a record may be logged again
        self._lines: list[float] = []  # times of recent log lines
        self._counts: Counter[str] = Counter()

    def all(self, kind: str, raw: Iterable[tuple[object, R]], decode: Callable[[R], T]) -> list[T]:
        """The decoded values, without those that cannot be read; `raw` has a key for each, for the log."""
        found = []
        for key, value in raw:
            try:
                found.append(decode(value))
            except _BAD as error:
                self.report(kind, key, error)
        return found

    def one(self, kind: str, key: object, raw: R, decode: Callable[[R], T]) -> T | None:
        """The decoded value; None if it cannot be read."""
        found = self.all(kind, [(key, raw)], decode)
        return found[0] if found else None

    def report(self, kind: str, key: object, error: Exception) -> None:
        """Log and count a record that could not be read."""
        name = text(key) if isinstance(key, bytes) else str(key)
        now = time.monotonic()
        if self._silent_until.get((kind, name), 0.0) > now:
            return
        if len(self._silent_until) >= _MAX_REMEMBERED:
            self._silent_until.clear()
        self._silent_until[kind, name] = now + _REPEAT_SECONDS
        self._counts[kind] += 1
        self._lines = [at for at in self._lines if at > now - _MINUTE]
        if len(self._lines) < _MAX_LINES:
            self._lines.append(now)
            why = reason(error)
            log.error("unreadable_record_skipped", kind=kind, key=name[:100], reason=why)

    def take_counts(self) -> dict[str, int]:
        """Numbers of unreadable records since the last call, by kind."""
        counts, self._counts = self._counts, Counter()
        return dict(counts)
