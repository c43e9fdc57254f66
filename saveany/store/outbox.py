"""The webhook outbox: each delivery is written in one step with the change that it reports."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from saveany.errors import InvalidInput
from saveany.models import Delivery
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import Unreadable, decoder, text

_delivery = decoder(Delivery)

_ALL = keys.POSTED()


class DeliveryBatch(msgspec.Struct, frozen=True):
    """A page of deliveries. `cursor` leads to the next page; it is empty on the last one."""

    deliveries: list[Delivery]
    cursor: str


class Outbox:
    """Claiming due deliveries and recording their outcome."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries that report no change of a task. One with an id that was added within two days is
        not added again."""
        if deliveries:
            fields: list[str | bytes] = []
            for each in deliveries:
                fields += each.id, each.task_id, codec.encode(each)
            await self._db.script("post", *fields)

    async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
        """Up to `limit` due deliveries, reserved for this caller for `lease_ms`."""
        flat = await self._db.script("outbox_claim", limit, lease_ms)
        due = dict(zip(flat[::2], flat[1::2], strict=True))
        readable = self._db.records.all("webhook", due.items(), _delivery)
        if len(readable) < len(due):
            await self._put_aside(due)
        return readable

    async def _put_aside(self, due: dict[bytes, bytes]) -> None:
        """Remove damaged deliveries from the schedule. Those of a newer version stay for a newer worker."""
        for delivery_id, raw in due.items():
            try:
                _delivery(raw)
            except Unreadable:
                continue
            except (msgspec.MsgspecError, ValueError):
                await self._db.do("ZREM", keys.OUTBOX(), delivery_id)

    async def settle(self, delivery: Delivery, state: str, status: int, error: str) -> None:
        """Record the final outcome: `state` is `delivered` or `gave_up`."""
        await self._write(delivery, state, status, error, -1, state)

    async def retry(self, delivery: Delivery, after_ms: int, status: int, error: str) -> None:
        """Record a failed attempt; the next one is due in `after_ms`."""
        await self._write(delivery, "pending", status, error, after_ms, "failed")

    async def wait(self, timeout: float) -> None:
        """Wait until a delivery may be due, for at most `timeout` seconds."""
        first = await self._db.do("ZRANGE", keys.OUTBOX(), 0, 0, "WITHSCORES")
        if first:
            timeout = min(timeout, (float(first[1]) - await self._db.time_ms()) / 1000)
        if timeout > 0:
            await self._db.do("BLPOP", keys.OUTBOX_WAKE_UPS(), max(timeout, 0.001))  # 0 would wait forever

    async def of_task(self, task_id: str) -> list[Delivery]:
        """All deliveries of a task, oldest first."""
        found = await self._read([text(i) for i in await self._db.do("SMEMBERS", _of_task(task_id))])
        return sorted(found, key=lambda d: (d.created_at, d.id))

    async def page(self, task_id: str = "", limit: int = 50, cursor: str = "") -> DeliveryBatch:
        """At most `limit` deliveries after `cursor`, newest first; only those of `task_id` if given.

        Raises `InvalidInput` for an invalid cursor.
        """
        ids = await (self._ids_of_task(task_id, limit, cursor) if task_id else self._ids(limit, cursor))
        more = ids[limit - 1] if len(ids) > limit else ""
        return DeliveryBatch(await self._read(ids[:limit]), more)

    async def get(self, delivery_id: str) -> Delivery | None:
        """The delivery with this id."""
        found = await self._read([delivery_id])
        return found[0] if found else None

    async def redeliver(self, delivery_id: str) -> Delivery | None:
        """Schedule a delivery for now, whatever its state. Returns it, or None if it does not exist."""
        while True:
            read = await self._db.do("GET", keys.DELIVERY(delivery_id))
            if read is None:
                return None
            kept = self._db.records.one("webhook", delivery_id, read, _delivery)
            if kept is None:
                return None
            again = msgspec.structs.replace(kept, state="pending")
            written = read, codec.encode(again), _summary(again)
            if await self._db.script("redeliver", delivery_id, again.task_id, *written):
                return again

    async def _ids(self, limit: int, cursor: str) -> list[str]:
        """The next `limit` ids, plus one that shows whether another page follows."""
        start = 0
        if cursor:
            rank = await self._db.do("ZREVRANK", _ALL, cursor)
            start = _known(rank) + 1
        return [text(i) for i in await self._db.do("ZREVRANGE", _ALL, start, start + limit)]

    async def _ids_of_task(self, task_id: str, limit: int, cursor: str) -> list[str]:
        members = [text(i) for i in await self._db.do("SMEMBERS", _of_task(task_id))]
        scores = await self._db.do("ZMSCORE", _ALL, *members) if members else []
        newest = sorted(((float(s), i) for s, i in zip(scores, members, strict=True) if s), reverse=True)
        ids = [i for _, i in newest]
        start = _known(ids.index(cursor) if cursor in ids else None) + 1 if cursor else 0
        return ids[start : start + limit + 1]

    async def _read(self, ids: list[str]) -> list[Delivery]:
        raw = await self._db.many([("GET", keys.DELIVERY(i)) for i in ids]) if ids else []
        named = ((i, r) for i, r in zip(ids, raw, strict=True) if r)
        return self._db.records.all("webhook", named, _delivery)

    async def _write(
        self, delivery: Delivery, state: str, status: int, error: str, delay_ms: int, outcome: str
    ) -> None:
        attempts = delivery.attempts + 1
        after = msgspec.structs.replace(
            delivery, state=state, attempts=attempts, last_status=status, last_error=error
        )
        written = codec.encode(after), _summary(after)
        await self._db.script("outbox_settle", delivery.id, delivery.task_id, *written, delay_ms, outcome)


def _summary(delivery: Delivery) -> bytes:
    """The part of a delivery that the record of its task contains."""
    return codec.encode(
        {"state": delivery.state, "attempts": delivery.attempts, "last_status": delivery.last_status}
    )


def _of_task(task_id: str) -> str:
    return keys.DELIVERIES(task_id)


def _known(rank: int | None) -> int:
    if rank is None:
        raise InvalidInput("this cursor is not valid; leave it out to start from the beginning", "cursor")
    return rank
