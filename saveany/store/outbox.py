"""The webhook outbox: deliveries written together with what they tell of, kept until they are settled."""

from __future__ import annotations

import asyncio

import msgspec

from saveany.models import Delivery
from saveany.store import codec
from saveany.store.db import PREFIX, Db

_delivery = msgspec.json.Decoder(Delivery)


class Outbox:
    """Taking deliveries that are due and writing down what became of them."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
        """Up to `limit` deliveries that are due; nobody else gets them for `lease_ms`."""
        return [_delivery.decode(raw) for raw in await self._db.script("outbox_claim", limit, lease_ms)]

    async def settle(self, delivery: Delivery, state: str, status: int, error: str) -> None:
        """The last attempt was made: `state` is `delivered` or `gave_up`."""
        await self._write(delivery, state, status, error, -1)

    async def retry(self, delivery: Delivery, after_ms: int, status: int, error: str) -> None:
        """An attempt failed; the next one is due in `after_ms`."""
        await self._write(delivery, "pending", status, error, after_ms)

    async def wait(self, timeout: float) -> None:
        """Return when a delivery may be due, at the latest after `timeout` seconds."""
        first = await self._db.do("ZRANGE", PREFIX + "outbox", 0, 0, "WITHSCORES")
        if first:
            timeout = min(timeout, max(0.0, (float(first[1]) - await self._db.time_ms()) / 1000))
        await asyncio.sleep(min(timeout, 0.25) if timeout > 0 else 0)

    async def of_task(self, task_id: str) -> list[Delivery]:
        """All deliveries of a task, oldest first."""
        ids = await self._db.do("SMEMBERS", f"{PREFIX}deliveries:{task_id}")
        raw = await self._db.many([("GET", f"{PREFIX}delivery:{i.decode()}") for i in ids]) if ids else []
        return sorted((_delivery.decode(r) for r in raw if r), key=lambda d: (d.created_at, d.id))

    async def _write(self, delivery: Delivery, state: str, status: int, error: str, delay_ms: int) -> None:
        attempts = delivery.attempts + 1
        after = msgspec.structs.replace(
            delivery, state=state, attempts=attempts, last_status=status, last_error=error
        )
        summary = codec.encode({"state": state, "attempts": attempts, "last_status": status})
        await self._db.script(
            "outbox_settle", delivery.id, delivery.task_id, codec.encode(after), summary, delay_ms
        )
