"""How many bytes all links together have sent this month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from saveany.store import keys
from saveany.store.db import Db

#: Milliseconds for which the number of a month is kept.
_KEPT_MS = 400 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of a month (in UTC, by the clock of the Redis server)."""

    sent: int  # bytes
    seconds_left: int  # until the next month
    month: str  # such as 2026-11


class TrafficCounter:
    """Counts what links send, by month."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, size: int) -> None:
        """Count bytes that were sent."""
        key = keys.TRAFFIC(f"{await self._now():%Y-%m}")
        await self._db.script("increase", key, size, _KEPT_MS)

    async def this_month(self) -> Traffic:
        """The traffic of this month so far."""
        now = await self._now()
        following = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
        month = f"{now:%Y-%m}"
        sent = await self._db.do("GET", keys.TRAFFIC(month))
        return Traffic(
            self._db.records.one("traffic", month, sent or b"0", int) or 0,
            max(1, int((following - now).total_seconds())),
            month,
        )

    async def _now(self) -> datetime:
        return datetime.fromtimestamp(await self._db.time_ms() / 1000, UTC)
