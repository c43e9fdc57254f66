"""Counters for /metrics, to which all workers add. They start at 0 with a new store and never decrease."""

from __future__ import annotations

from collections import defaultdict

from saveany.store import keys
from saveany.store.db import Db

DOWNLOADED_BYTES = "downloaded_bytes"
FLOOD_WAIT_SECONDS = "flood_wait_seconds"
LOST_LEASES = "lost_leases"
LINK_DOWNLOADS, LINK_BYTES = "link_downloads", "link_bytes"
#: Prefix of an outcome: delivered, failed (another attempt follows) or gave_up.
WEBHOOK_ATTEMPTS = "webhook_attempts:"
OUTCOMES = ("delivered", "failed", "gave_up")
#: Prefix of the kind of a record that could not be read.
UNREADABLE = "unreadable:"
#: The histogram of seconds per downloaded part: prefix of its buckets (not cumulative), and the sum.
PART_SECONDS = "part_seconds:"
PART_SECONDS_SUM = "part_seconds_sum"
#: Upper bounds of the buckets, in seconds.
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, float("inf"))


class Counters:
    """Counts in memory, and adds to the sums in Redis with each `flush`. A worker that dies loses the counts
    since its last flush."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._unflushed: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, amount: float) -> None:
        """Add `amount` to a counter."""
        self._unflushed[name] += amount

    def part(self, size: int, seconds: float) -> None:
        """Count a downloaded part of `size` bytes that arrived `seconds` after its request."""
        self.add(DOWNLOADED_BYTES, size)
        self.add(f"{PART_SECONDS}{next(bound for bound in BUCKETS if seconds <= bound)}", 1)
        self.add(PART_SECONDS_SUM, seconds)

    async def flush(self) -> None:
        """Add the counts since the last call to the sums in Redis."""
        for kind, times in self._db.records.take_counts().items():
            self.add(UNREADABLE + kind, times)
        unflushed, self._unflushed = self._unflushed, defaultdict(float)
        try:
            if unflushed:
                await self._db.script("count", *(part for pair in unflushed.items() for part in pair))
        except Exception:
            for name, amount in unflushed.items():
                self.add(name, amount)
            raise

    async def read(self) -> dict[str, float]:
        """All sums by name; counters that were never increased are missing."""
        found = await self._db.do("HGETALL", keys.COUNTERS())
        named = ((name, (name, value)) for name, value in found.items())
        return dict(self._db.records.all("counter", named, lambda pair: (pair[0].decode(), float(pair[1]))))
