"""The types of all keys of the store, and repairing one of a wrong type.

Such a key cannot be read or written at all, so it is put aside, under `sa:damaged:`, for whoever wants to
look at it. What tells the order and the state of tasks is made again from the records of the tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from saveany.logs import get_logger

if TYPE_CHECKING:
    from saveany.store.db import Db

PREFIX = "sa:"
DAMAGED = "damaged:"

#: Name, or what it begins with if it ends in a colon -> type. `lua/_lib.lua` and the modules tell the rest.
TYPES: Mapping[str, str] = {
    "answer:": "list",
    "asks:": "list",
    "away:": "set",
    "bot:card:": "string",
    "bot:id": "string",
    "bot:inbox": "hash",
    "bot:lock": "string",
    "bot:logins": "hash",
    "bot:position": "string",
    "bot:told:": "string",
    "checkpoints:": "hash",
    "cleanup:": "set",
    "counters": "hash",
    "delayed": "zset",
    "deliveries:": "set",
    "delivery:": "string",
    "events": "stream",
    "history": "zset",
    "history:": "zset",
    "idem:": "hash",
    "items:": "hash",
    "lanes:": "set",
    "leases": "zset",
    "live": "hash",
    "lock:": "string",
    "meta": "hash",
    "name:": "string",
    "outbox": "zset",
    "paused": "zset",
    "people": "hash",
    "people:changed:": "string",
    "posted": "zset",
    "queued": "zset",
    "ready:": "zset",
    "running": "zset",
    "room:": "string",
    "running:": "set",
    "settings": "hash",
    "storages": "hash",
    "suffix:": "string",
    "task:": "hash",
    "telegram:flood:": "string",
    "telegram:lines:": "zset",
    "telegram:machine:": "string",
    "turn": "string",
    "users": "zset",
    "watches": "hash",
    "watches:tasks": "hash",
    "worker:": "string",
    "workers": "set",
    "written": "string",
}
#: Those of arq, which have no prefix of ours.
_ARQ: Mapping[str, str] = {"arq:queue": "zset"}
_BATCH = 1000

log = get_logger("saveany.store")


def expected_type(key: str) -> str:
    """The type that a key must have; "" if nobody knows."""
    if key in _ARQ:
        return _ARQ[key]
    name = key.removeprefix(PREFIX)
    if found := TYPES.get(name):
        return found
    parts = name.split(":")
    heads = (":".join(parts[:n]) + ":" for n in range(len(parts) - 1, 0, -1))
    return next((TYPES[head] for head in heads if head in TYPES), "")


async def mend(db: Db) -> list[str]:
    """Put keys of a wrong type aside, and make what they held again as far as that can be. Returns them."""
    wrong = [key async for key in _wrong(db)]
    for key in wrong:
        await db.do("RENAME", key, f"{PREFIX}{DAMAGED}{key.removeprefix(PREFIX)}")
    if wrong:
        log.error("keys of a wrong type were put aside", keys=wrong[:20], under=PREFIX + DAMAGED)
        async for batch in _scan(db, f"{PREFIX}task:*"):
            ids = [key.removeprefix(f"{PREFIX}task:") for key in batch]
            await db.script("reindex", *ids)
    return wrong


async def _wrong(db: Db) -> AsyncIterator[str]:
    for pattern in (f"{PREFIX}*", *_ARQ):
        async for batch in _scan(db, pattern):
            types = await db.many([("TYPE", key) for key in batch])
            for key, found in zip(batch, types, strict=True):
                expected = expected_type(key)
                if expected and found.decode() not in (expected, "none"):
                    yield key


async def _scan(db: Db, pattern: str) -> AsyncIterator[list[str]]:
    cursor: int | bytes = 0
    while True:
        cursor, keys = await db.do("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        names = [name for name in (key.decode("utf-8", "surrogateescape") for key in keys) if _ours(name)]
        if names:
            yield names
        if int(cursor) == 0:
            return


def _ours(name: str) -> bool:
    return not name.startswith(PREFIX + DAMAGED) and name.isprintable()
