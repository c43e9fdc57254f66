"""Events: state changes from the stream (with ids, resumable), progress by pub/sub (without)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from saveany.models import Progress, Stage, Status
from saveany.store import keys
from saveany.store.db import Db

_STREAM = keys.EVENTS()
#: Who follows rests for so long after each reply: what happens meanwhile comes in one.
_REST_SECONDS = 0.02


def event_key(event_id: str) -> tuple[int, int]:
    """Event ids in the order in which they happened."""
    ms, _, sequence = event_id.partition("-")
    return int(ms), int(sequence or 0)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a task. `id` is empty for progress, which cannot be resumed."""

    type: str  # task.queued | task.running | task.updated | task.progress | task.completed | …
    task_id: str
    user_id: int
    id: str = ""
    at: int = 0
    status: str = ""
    stage: str = ""
    title: str = ""
    error: str = ""
    progress: Progress | None = None


class Events:
    """Reading what happens."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def last_id(self) -> str:
        """Id of the newest event; `0-0` if there is none."""
        newest = await self._db.do("XREVRANGE", _STREAM, "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else "0-0"

    async def trimmed(self, event_id: str) -> bool:
        """Whether events after `event_id` are gone already: a client that stopped there needs a snapshot."""
        info = await self._db.many([("XRANGE", _STREAM, "-", "+", "COUNT", 1), ("XLEN", _STREAM)])
        oldest = info[0][0][0].decode() if info[0] else "0-0"
        return event_key(event_id) < event_key(oldest) and event_id != "0-0"

    async def after(self, event_id: str, limit: int = 1000) -> list[Event]:
        """Events newer than `event_id`, oldest first."""
        entries = await self._db.do("XRANGE", _STREAM, f"({event_id}", "+", "COUNT", limit)
        return self._read(entries)

    async def follow(self, event_id: str) -> AsyncIterator[Event]:
        """Events newer than `event_id`, for ever; ends with an outage error when Redis goes."""
        while True:
            reply = await self._db.do("XREAD", "BLOCK", 10_000, "COUNT", 500, "STREAMS", _STREAM, event_id)
            for _, entries in reply.items() if isinstance(reply, dict) else reply or []:
                read = entries[0] if isinstance(reply, dict) else entries
                for event in self._read(read):
                    event_id = event.id
                    yield event
                if read:
                    event_id = read[-1][0].decode()
            await asyncio.sleep(_REST_SECONDS)

    def _read(self, entries: list[Any]) -> list[Event]:
        named = ((entry_id, (entry_id, fields)) for entry_id, fields in entries)
        return self._db.records.all("event", named, lambda entry: _decode(*entry))

    async def progress(self) -> AsyncIterator[Event]:
        """Progress of all running tasks, from now on; ends with an outage error when Redis goes."""
        async for message in self._db.listen(keys.PROGRESS):
            event = self._db.records.one("progress", "published", message, _progress) if message else None
            if event:
                yield event


def _progress(message: bytes) -> Event:
    task_id, user, stage, body = message.decode().split(" ", 3)
    return Event(
        type="task.progress",
        task_id=task_id,
        user_id=int(user),
        status="running",
        stage=Stage(stage).value,
        progress=msgspec.json.decode(body, type=Progress),
    )


def _decode(entry_id: bytes, fields: list[bytes] | dict[bytes, bytes]) -> Event:
    record = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    text = {key.decode(): value.decode() for key, value in record.items()}
    return Event(
        id=entry_id.decode(),
        type=text["type"],
        task_id=text["task"],
        user_id=int(text["user"]),
        at=int(text["at"]),
        status=Status(text["status"]).value,
        stage=Stage(text["stage"]).value,
        title=text["title"],
        error=text["error"],
    )
