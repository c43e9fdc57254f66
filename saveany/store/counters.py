"""Sums that all workers add to, for /metrics. They begin at 0 with the store and never go back."""

from __future__ import annotations

from collections import defaultdict

from saveany.store import keys
from saveany.store.db import Db

DOWNLOADED_BYTES = "downloaded_bytes"
FLOOD_WAIT_SECONDS = "flood_wait_seconds"
LOST_LEASES = "lost_leases"
#: Prefix; then what became of the attempt: delivered, failed (there will be another) or gave_up.
WEBHOOK_ATTEMPTS = "webhook_attempts:"
OUTCOMES = ("delivered", "failed", "gave_up")
#: Prefix; then the kind of a record that could not be read.
UNREADABLE = "unreadable:"
#: Prefixes of the histogram of seconds a part took: one field per bucket (not cumulative), and their sum.
PART_SECONDS = "part_seconds:"
PART_SECONDS_SUM = "part_seconds_sum"
#: Upper bounds of the buckets, in seconds.
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, float("inf"))


class Counters:
    """Counts in memory, and adds it up in Redis with each `flush`. What a worker that dies has not flushed is
    not counted."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._fresh: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float) -> None:
        """So much more of that."""
        self._fresh[name] += amount

    def part(self, size: int, seconds: float) -> None:
        """A part of `size` bytes has come, `seconds` after it was asked for."""
        self.add(DOWNLOADED_BYTES, size)
        self.add(f"{PART_SECONDS}{next(bound for bound in BUCKETS if seconds <= bound)}", 1)
        self.add(PART_SECONDS_SUM, seconds)

    async def flush(self) -> None:
        """Add what was counted since the last time."""
        for kind, times in self._db.records.take_counts().items():
            self.add(UNREADABLE + kind, times)
        fresh, self._fresh = self._fresh, defaultdict(float)
        try:
            if fresh:
                await self._db.script("count", *(part for pair in fresh.items() for part in pair))
        except Exception:
            for name, amount in fresh.items():
                self.add(name, amount)
            raise

    async def read(self) -> dict[str, float]:
        """All sums; what was never counted is not there."""
        found = await self._db.do("HGETALL", keys.COUNTERS())
        named = ((name, (name, value)) for name, value in found.items())
        return dict(self._db.records.all("counter", named, lambda pair: (pair[0].decode(), float(pair[1]))))
