"""Connections to an SQLite file that may be canceled at any time, also again and again, as at the end of a
process. Those of aiosqlite then leave a thread behind, or wait forever for one that has ended."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import Any

import aiosqlite

_ROWS = 64  # that are fetched at once


class _Connection(aiosqlite.Connection):
    """Its thread can be stopped several times."""

    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Stop the thread. The result is that of the first call: the thread replies to no other."""
        self._stopped = self._stopped or super().stop()
        return self._stopped


async def connect(file: str, **options: Any) -> aiosqlite.Connection:
    """A connection. A caller who is canceled goes on when the attempt has ended, and nothing is left open."""
    connection = _Connection(partial(sqlite3.connect, file, **options), _ROWS)
    connection._thread.daemon = True
    connecting = asyncio.ensure_future(connection)
    try:
        await _settled(connecting)
    except asyncio.CancelledError:
        if not connecting.exception():
            await _settled(asyncio.ensure_future(connection.close()))
        raise
    return connecting.result()


async def _settled(future: asyncio.Future[Any]) -> None:
    """Wait for an end, then raise the cancellation if there was one meanwhile."""
    canceled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            canceled = error
    if canceled:
        raise canceled
