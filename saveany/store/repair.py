"""Repair of keys that have a wrong Redis type, for example after a mistake with redis-cli.

Such a key can neither be read nor written, so it is renamed to begin with `sa:damaged:`, where an operator
can inspect it. The indexes of tasks are rebuilt from the records of the tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from saveany.logs import get_logger
from saveany.store import keys

_BATCH = 1000

log = get_logger("saveany.store")


class RedisCommands(Protocol):
    """The methods of `saveany.store.db.Db` that the repair calls."""

    async def do(self, *command: Any) -> Any:
        """Run one command."""

    async def many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run several commands in one round trip."""

    async def script(self, name: str, *args: Any) -> Any:
        """Run a Lua script."""


async def repair_types(db: RedisCommands) -> list[str]:
    """Rename all keys of a wrong type and rebuild the indexes of tasks. Returns the former names."""
    wrong = [key async for key in _wrong(db)]
    for key in wrong:
        await db.do("RENAME", key, f"{keys.PREFIX}{keys.DAMAGED}{key.removeprefix(keys.PREFIX)}")
    if wrong:
        log.error("damaged_keys_renamed", keys=wrong[:20], prefix=keys.PREFIX + keys.DAMAGED)
        async for batch in scan(db, keys.TASK("*")):
            await db.script("reindex", *(key.removeprefix(keys.TASK("")) for key in batch))
    return wrong


async def _wrong(db: RedisCommands) -> AsyncIterator[str]:
    async for batch in scan(db, f"{keys.PREFIX}*"):
        types = await db.many([("TYPE", key) for key in batch])
        for key, found in zip(batch, types, strict=True):
            expected = keys.expected_type(key)
            if expected and found.decode() not in (expected, "none"):
                yield key


async def scan(db: RedisCommands, pattern: str) -> AsyncIterator[list[str]]:
    """The names of our keys that match, in batches."""
    cursor: int | bytes = 0
    while True:
        cursor, found = await db.do("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        names = [name for name in (key.decode("utf-8", "surrogateescape") for key in found) if _ours(name)]
        if names:
            yield names
        if int(cursor) == 0:
            return


def _ours(name: str) -> bool:
    return not name.startswith(keys.PREFIX + keys.DAMAGED) and name.isprintable()
