"""Events: state changes from the stream (with ids, resumable), progress by pub/sub (without)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from saveany.models import Progress, Stage
from saveany.store.db import PREFIX, Db

_STREAM = PREFIX + "events"
#: Who follows rests for so long after each reply: what happens meanwhile comes in one.
_REST_SECONDS = 0.02


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
        return _key(event_id) < _key(oldest) and event_id != "0-0"

    async def after(self, event_id: str, limit: int = 1000) -> list[Event]:
        """Events newer than `event_id`, oldest first."""
        entries = await self._db.do("XRANGE", _STREAM, f"({event_id}", "+", "COUNT", limit)
        return [_decode(entry_id, fields) for entry_id, fields in entries]

    async def follow(self, event_id: str) -> AsyncIterator[Event]:
        """Events newer than `event_id`, for ever; ends with an outage error when Redis goes."""
        while True:
            reply = await self._db.do("XREAD", "BLOCK", 10_000, "COUNT", 500, "STREAMS", _STREAM, event_id)
            for _, entries in reply.items() if isinstance(reply, dict) else reply or []:
                for entry_id, fields in entries[0] if isinstance(reply, dict) else entries:
                    event_id = entry_id.decode()
                    yield _decode(entry_id, fields)
            await asyncio.sleep(_REST_SECONDS)

    async def progress(self) -> AsyncIterator[Event]:
        """Progress of all running tasks, from now on; ends with an outage error when Redis goes."""
        async for message in self._db.listen("progress"):
            if not message:
                continue
            task_id, user, stage, body = message.decode().split(" ", 3)
            yield Event(
                type="task.progress",
                task_id=task_id,
                user_id=int(user),
                status="running",
                stage=Stage(stage).value,
                progress=msgspec.json.decode(body, type=Progress),
            )


def _key(event_id: str) -> tuple[int, int]:
    ms, _, seq = event_id.partition("-")
    return int(ms), int(seq or 0)


def _decode(entry_id: bytes, fields: list[bytes] | dict[bytes, bytes]) -> Event:
    record = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    text = {key.decode(): value.decode() for key, value in record.items()}
    return Event(
        id=entry_id.decode(),
        type=text["type"],
        task_id=text["task"],
        user_id=int(text["user"]),
        at=int(text["at"]),
        status=text["status"],
        stage=text["stage"],
        title=text["title"],
        error=text["error"],
    )
