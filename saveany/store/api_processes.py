"""API processes that can be reached by those on other machines."""

from __future__ import annotations

import msgspec

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder, text

#: Milliseconds after its last heartbeat until an API process is no longer listed.
SILENCE_MS = 15_000


class ApiProcess(msgspec.Struct, frozen=True):
    """An API process, and the files that it can open."""

    id: str
    host: str
    url: str  # at which other API processes reach it
    storages: tuple[str, ...]  # those whose disk is in its machine


_process = decoder(ApiProcess)


class ApiProcesses:
    """Heartbeats of API processes."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def heartbeat(self, process: ApiProcess) -> None:
        """List the process for another `SILENCE_MS`."""
        await self._db.many(
            [
                ("SET", keys.API_PROCESS(process.id), codec.encode(process), "PX", SILENCE_MS),
                ("SADD", keys.API_PROCESSES(), process.id),
            ]
        )

    async def leave(self, process: str) -> None:
        """Remove a process from the list."""
        await self._db.many([("DEL", keys.API_PROCESS(process)), ("SREM", keys.API_PROCESSES(), process)])

    async def living(self) -> list[ApiProcess]:
        """Processes with a heartbeat in the last `SILENCE_MS`, by id."""
        ids = sorted(text(member) for member in await self._db.do("SMEMBERS", keys.API_PROCESSES()))
        raw = await self._db.many([("GET", keys.API_PROCESS(i)) for i in ids]) if ids else []
        gone = [i for i, value in zip(ids, raw, strict=True) if not value]
        if gone:
            await self._db.do("SREM", keys.API_PROCESSES(), *gone)
        named = ((i, value) for i, value in zip(ids, raw, strict=True) if value)
        return self._db.records.all("api", named, _process)
