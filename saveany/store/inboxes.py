"""Which files of watched folders were taken. A file is recorded in the step that creates its task
(`Tasks.accept`), so neither is there without the other, whenever a worker is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from saveany.local_files import Version
from saveany.store import keys
from saveany.store.db import Arg, Db
from saveany.store.records import text

T = TypeVar("T")
_DAY = 24 * 3600
#: Maximum number of files that are changed with one command.
_BATCH = 1000


def _today() -> int:
    return int(time.time() / _DAY)


@dataclass(frozen=True, slots=True)
class Taken:
    """A version of a file that was taken, and the day (since 1970) on which it was last seen there."""

    version: Version
    day: int = field(default_factory=_today)

    @property
    def days_ago(self) -> int:
        """Days since it was seen."""
        return _today() - self.day

    @property
    def value(self) -> str:
        """As it is recorded."""
        return f"{self.version.size}:{self.version.mtime_ns}:{self.day}"

    @classmethod
    def parsed(cls, value: str) -> Taken:
        """From a record. Raises `ValueError`."""
        size, mtime_ns, day = map(int, value.split(":"))
        return cls(Version(size, mtime_ns), day)


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file that is taken now."""

    inbox: str  # hash of the machine and the folder
    below: str  # its path in the folder, as in `saveany.local_files`
    version: Version

    @property
    def args(self) -> tuple[Arg, Arg, Arg]:
        """As arguments of a script."""
        return self.inbox, os.fsencode(self.below), Taken(self.version).value


class Inboxes:
    """The records of watched folders."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def taken(self, inbox: str) -> dict[str, Taken]:
        """All files that were taken from a folder."""
        record = await self._db.do("HGETALL", keys.INBOX(inbox))
        found = {}
        for below, value in record.items():
            name = os.fsdecode(below)
            parsed = self._db.records.one("inbox", name, text(value), Taken.parsed)
            if parsed is not None:
                found[name] = parsed
        return found

    async def put(self, inbox: str, files: Iterable[tuple[str, Taken]]) -> None:
        """Record when files were seen."""
        for part in _parts([(os.fsencode(below), taken.value) for below, taken in files]):
            await self._db.do("HSET", keys.INBOX(inbox), *(arg for pair in part for arg in pair))

    async def forget(self, inbox: str, files: Iterable[str]) -> None:
        """Remove the records of files: if one is there again, it is taken again."""
        for part in _parts([(os.fsencode(below),) for below in files]):
            await self._db.do("HDEL", keys.INBOX(inbox), *(name for (name,) in part))


def _parts(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
