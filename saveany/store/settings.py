"""What is changed while everything runs: whether the queue is paused, and limits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db

_KEY = keys.SETTINGS()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done at once, over all workers; 0 is no limit."""

    tasks_per_user: int = 0  # running at a time
    bytes_per_second: int = 0
    bytes_per_second_per_user: int = 0

    def but(self, changed: Mapping[str, int]) -> Limits:
        """These limits with some of them changed."""
        return msgspec.structs.replace(self, **changed)


class Sharers(msgspec.Struct, frozen=True):
    """Among how many workers a limit is divided now."""

    changed: dict[str, int]  # the limits that `RuntimeSettings.set` has changed
    workers: int  # with running tasks
    by_user: dict[
        int, int
    ]  # for users who have running tasks on the worker that asks: workers with any of theirs


class RuntimeSettings:
    """Reading and writing them; everybody sees a change within two seconds."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def pause(self) -> None:
        """Begin no more tasks; running ones go on."""
        await self._db.do("HSET", _KEY, "paused", 1)

    async def resume(self) -> None:
        """Begin tasks again; workers are woken for those that wait."""
        await self._db.do("HDEL", _KEY, "paused")
        await self._db.script("wake_workers")

    async def paused(self) -> bool:
        """Whether the queue is paused."""
        return bool(await self._db.do("HGET", _KEY, "paused") == b"1")

    async def set(self, changed: Mapping[str, int | None]) -> None:
        """Change limits, by their names in `Limits`; None restores the configured one. Workers are woken for
        tasks that may run now."""
        await self._db.many(
            [
                ("HDEL", _KEY, name) if value is None else ("HSET", _KEY, name, value)
                for name, value in changed.items()
            ]
        )
        await self._db.script("wake_workers")

    async def changed(self) -> dict[str, int]:
        """The limits that were changed, by name."""
        return self._limits(await self._db.do("HGETALL", _KEY))

    async def sharers(self, worker: str) -> Sharers:
        """With how many others `worker` shares each limit now."""
        settings, workers, users = await self._db.script("sharers", worker)
        named = ((user, (user, count)) for user, count in codec.pairs(users).items())
        by_user = dict(self._db.records.all("user", named, lambda pair: (int(pair[0]), int(pair[1]))))
        return Sharers(self._limits(codec.pairs(settings)), workers, by_user)

    def _limits(self, record: Mapping[bytes, bytes]) -> dict[str, int]:
        """A limit that cannot be read is as it is configured."""
        known = {name: record[name.encode()] for name in Limits.__struct_fields__ if name.encode() in record}
        named = ((name, (name, value)) for name, value in known.items())
        return dict(self._db.records.all("setting", named, lambda pair: (pair[0], _limit(pair[1]))))


def _limit(raw: bytes) -> int:
    value = int(raw)
    if value < 0:
        raise ValueError("a limit is not negative")
    return value
