"""Events: state changes from a Redis stream (with ids, resumable), progress by pub/sub (without)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from saveany.models import Progress, Stage, Status
from saveany.store import keys
from saveany.store.db import Arg, Db

_STREAM = keys.EVENTS()
#: Seconds of pause after each read of the stream, so that a burst of events arrives in one reply.
_PAUSE_SECONDS = 0.02
#: About as many events are kept.
_MAX_EVENTS = 20_000


def event_key(event_id: str) -> tuple[int, int]:
    """A sort key: event ids in the order of the events."""
    ms, _, sequence = event_id.partition("-")
    return int(ms), int(sequence or 0)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a task, or of an archive. `id` is empty for progress, which cannot be resumed."""

    #: task.queued | task.running | task.updated | task.progress | task.completed | … | archive_complete | …
    type: str
    task_id: str
    user_id: int
    id: str = ""
    at: int = 0
    status: str = ""
    stage: str = ""
    title: str = ""
    error: str = ""
    progress: Progress | None = None
    archive_id: str = ""  # of an event of an archive, which has neither a task nor a status


class Events:
    """Reads the events."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def last_id(self) -> str:
        """The id of the newest event; `0-0` if there are none."""
        newest = await self._db.do("XREVRANGE", _STREAM, "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else "0-0"

    async def trimmed(self, event_id: str) -> bool:
        """Whether events after `event_id` were already removed, so that a client needs a snapshot."""
        info = await self._db.many([("XRANGE", _STREAM, "-", "+", "COUNT", 1), ("XLEN", _STREAM)])
        oldest = info[0][0][0].decode() if info[0] else "0-0"
        return event_key(event_id) < event_key(oldest) and event_id != "0-0"

    async def after(self, event_id: str, limit: int = 1000) -> list[Event]:
        """Up to `limit` events after `event_id`, oldest first."""
        entries = await self._db.do("XRANGE", _STREAM, f"({event_id}", "+", "COUNT", limit)
        return self._read(entries)

    async def add_archive_event(
        self, kind: str, archive_id: str, user_id: int, title: str, error: str
    ) -> None:
        """Add an event of an archive."""
        named: dict[str, Arg] = {"type": kind, "user": user_id, "archive": archive_id, "title": title}
        fields = {**named, "task": "", "at": await self._db.time_ms(), "error": error}
        fields |= {"status": "", "stage": ""}
        flat: list[Arg] = [part for pair in fields.items() for part in pair]
        await self._db.do("XADD", _STREAM, "MAXLEN", "~", _MAX_EVENTS, "*", *flat)

    async def follow(self, event_id: str) -> AsyncIterator[Event]:
        """All events after `event_id`, including future ones. Raises `StoreUnavailable` during an outage."""
        while True:
            reply = await self._db.do("XREAD", "BLOCK", 10_000, "COUNT", 500, "STREAMS", _STREAM, event_id)
            for _, entries in reply.items() if isinstance(reply, dict) else reply or []:
                read = entries[0] if isinstance(reply, dict) else entries
                for event in self._read(read):
                    event_id = event.id
                    yield event
                if read:
                    event_id = read[-1][0].decode()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _read(self, entries: list[Any]) -> list[Event]:
        named = ((entry_id, (entry_id, fields)) for entry_id, fields in entries)
        return self._db.records.all("event", named, lambda entry: _decode(*entry))

    async def progress(self) -> AsyncIterator[Event]:
        """Progress of all running tasks from now on. Raises `StoreUnavailable` when the connection breaks."""
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
        status=Status(text["status"]).value if text["status"] else "",
        stage=Stage(text["stage"]).value,
        title=text["title"],
        error=text["error"],
        archive_id=text.get("archive", ""),
    )
