"""Snapshots of the Redis server: the file that it sends to a new replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from saveany.errors import SaveAnyError
from saveany.store.db import Db

_PIECE = 1 << 20
#: Seconds without a byte, even a sign of life, after which a server is broken.
_SILENCE_SECONDS = 60.0


def number(db: Db) -> int:
    """The number of the database that `db` uses in its server."""
    return int(db.redis.connection_pool.connection_kwargs.get("db") or 0)


async def download(db: Db, file: Path, begun: Callable[[], Any]) -> None:
    """Write a snapshot of the server to a file. `begun` is called as soon as the state is fixed that it
    shows. Raises `SaveAnyError` if the server gives no snapshots."""
    connection = db.redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no types here
    try:
        await connection.connect()
        await connection.send_command("SYNC", check_health=False)
        reader: asyncio.StreamReader = connection._reader
        size = await _announced(reader)
        begun()
        with file.open("wb") as out:
            while size:
                piece = await asyncio.wait_for(reader.read(min(size, _PIECE)), _SILENCE_SECONDS)
                if not piece:
                    raise EOFError("the connection broke")
                out.write(piece)
                size -= len(piece)
    except (RedisError, RedisTimeoutError, OSError, EOFError, TimeoutError) as error:
        raise SaveAnyError(
            "the Redis server gives no snapshot: {reason} (redis.url needs the right to use SYNC, which some "
            "providers deny; then use their own backups for Redis)",
            reason=str(error) or type(error).__name__,
        ) from error
    finally:
        await connection.disconnect()


async def _announced(reader: asyncio.StreamReader) -> int:
    """The size of the snapshot, once the server has made it. Until then it sends empty lines."""
    while True:
        line = (await asyncio.wait_for(reader.readuntil(b"\n"), _SILENCE_SECONDS)).strip()
        if line.startswith(b"$") and line[1:].isdigit():
            return int(line[1:])
        if line:
            raise EOFError(line.decode(errors="replace").lstrip("-"))
