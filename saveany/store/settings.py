"""Settings that are changed at run time: the pause of the queue, and limits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db

_KEY = keys.SETTINGS()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits over all workers; 0 means no limit."""

    tasks_per_user: int = 0  # running at a time
    bytes_per_second: int = 0
    bytes_per_second_per_user: int = 0
    archives_per_user: int = 0  # that are not complete

    def with_changes(self, changed: Mapping[str, int]) -> Limits:
        """These limits with some of them changed."""
        return msgspec.structs.replace(self, **changed)


class Sharers(msgspec.Struct, frozen=True):
    """The numbers of workers that share each limit now."""

    changed: dict[str, int]  # the limits that `RuntimeSettings.set` has changed
    workers: int  # with running tasks
    by_user: dict[int, int]  # users with running tasks on the worker that asks -> workers with their tasks


class RuntimeSettings:
    """Reading and writing the settings; all processes apply a change within two seconds."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def pause(self) -> None:
        """Start no more tasks; running ones continue."""
        await self._db.do("HSET", _KEY, "paused", 1)

    async def resume(self) -> None:
        """Start tasks again, and wake workers for the ready ones."""
        await self._db.do("HDEL", _KEY, "paused")
        await self._db.script("wake_workers")

    async def paused(self) -> bool:
        """Whether the queue is paused."""
        return bool(await self._db.do("HGET", _KEY, "paused") == b"1")

    async def set(self, changed: Mapping[str, int | None]) -> None:
        """Change limits by their names in `Limits`; None restores the configured value. Wakes workers for
        tasks that can run now."""
        await self._db.many(
            [
                ("HDEL", _KEY, name) if value is None else ("HSET", _KEY, name, value)
                for name, value in changed.items()
            ]
        )
        await self._db.script("wake_workers")

    async def changed(self) -> dict[str, int]:
        """The changed limits, by name."""
        return self._limits(await self._db.do("HGETALL", _KEY))

    async def sharers(self, worker: str) -> Sharers:
        """The numbers of workers with which `worker` shares each limit now."""
        settings, workers, users = await self._db.script("sharers", worker)
        named = ((user, (user, count)) for user, count in codec.pairs(users).items())
        by_user = dict(self._db.records.all("user", named, lambda pair: (int(pair[0]), int(pair[1]))))
        return Sharers(self._limits(codec.pairs(settings)), workers, by_user)

    def _limits(self, record: Mapping[bytes, bytes]) -> dict[str, int]:
        """The readable limits; for the others the configured value applies."""
        known = {name: record[name.encode()] for name in Limits.__struct_fields__ if name.encode() in record}
        named = ((name, (name, value)) for name, value in known.items())
        return dict(self._db.records.all("setting", named, lambda pair: (pair[0], _limit(pair[1]))))


def _limit(raw: bytes) -> int:
    value = int(raw)
    if value < 0:
        raise ValueError("a limit cannot be negative")
    return value
