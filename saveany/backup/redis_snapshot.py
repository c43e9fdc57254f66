"""Snapshots of Redis, and their way into another server.

A snapshot is read with a temporary server of our own: only that tells what is in it, and only so the keys of
SaveAny can be separated from those of other programs in the same server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from saveany.embedded import CONTENT, FOLDER, EmbeddedRedis
from saveany.errors import SaveAnyError
from saveany.store.db import PREFIX, SCHEMA, Db, connect
from saveany.store.keys import LOCK, META

_OURS = f"{PREFIX}*"
_BATCH = 500
#: The first part of the append-only file, which an embedded server loads when it starts.
_BASE = "appendonly.aof.1.base.rdb"


@asynccontextmanager
async def opened(file: Path, folder: Path, redis_db: int) -> AsyncIterator[Db]:
    """A server with the content of a snapshot, which is moved into `folder`; the database is `redis_db`.
    Raises `SaveAnyError` if our server cannot read the snapshot, or a newer SaveAny has written it."""
    _place(file, folder / FOLDER / CONTENT)
    server = EmbeddedRedis(folder)
    try:
        db = connect(server.start().replace("db=0", f"db={redis_db}"))
        try:
            layout = int(await db.do("HGET", META(), "schema") or 0)
            if layout > SCHEMA:
                raise SaveAnyError(
                    "this backup was made by a newer SaveAny (layout {found} of Redis, this one knows "
                    "{known}); upgrade this installation",
                    found=layout,
                    known=SCHEMA,
                )
            await db.do("DEL", LOCK("recorder"))  # of the backup
            yield db
        finally:
            await db.close()
    finally:
        server.stop()


def _place(file: Path, home: Path) -> None:
    home.mkdir(mode=0o700, parents=True)
    file.rename(home / _BASE)
    (home / "appendonly.aof.manifest").write_text(f"file {_BASE} seq 1 type b\n")


async def is_used(db: Db) -> bool:
    """Whether the database contains anything of SaveAny."""
    return await anext(aiter(_batches(db)), None) is not None


async def replace(source: Db, target: Db) -> None:
    """Replace everything of SaveAny in `target` by that in `source`. If this is interrupted, `target` has no
    `META`, and must be restored again. Raises `SaveAnyError` if `target` is an older server that does not
    know a value."""
    await target.do("DEL", META())
    async for batch in _batches(target):
        await target.do("UNLINK", *batch)
    async for batch in _batches(source):
        await _copy(source, target, [key for key in batch if key != META().encode()])
    await _copy(source, target, [META().encode()])


async def _copy(source: Db, target: Db, batch: list[bytes]) -> None:
    values = await source.many([("DUMP", key) for key in batch])
    expiries = await source.many([("PTTL", key) for key in batch])
    rows = zip(batch, expiries, values, strict=True)
    commands: list[tuple[Any, ...]] = [
        ("RESTORE", key, max(ttl, 0), value, "REPLACE") for key, ttl, value in rows if value is not None
    ]
    if commands:
        await target.many(commands)


async def _batches(db: Db) -> AsyncIterator[list[bytes]]:
    cursor: Any = 0
    while True:
        cursor, found = await db.do("SCAN", cursor, "MATCH", _OURS, "COUNT", _BATCH)
        if found:
            yield list(found)
        if not int(cursor):
            return
