"""How fast and how far: the numbers of one running task."""

from __future__ import annotations

import time
from collections import deque

from saveany.models import Progress, Stage
from workers.ledger import Ledger

#: The speed shown is the mean over this many seconds.
_WINDOW = 5.0


class Meter:
    """Counts the bytes of a task as they pass."""

    def __init__(self, ledger: Ledger) -> None:
        self.stage = Stage.RESOLVING
        self._ledger = ledger
        self._current = 0  # bytes of the item in flight
        self._recent: deque[tuple[float, int]] = deque()

    def restart(self, size: int) -> None:
        """The next item begins, or the one in flight begins again; `size` bytes of it are there already."""
        self._current = size

    def add(self, size: int) -> None:
        """`size` more bytes of the item in flight have arrived and are written."""
        self._current += size
        self._recent.append((time.monotonic(), size))

    def progress(self) -> Progress:
        """The sums of this moment."""
        items = self._ledger.items
        done = [item for item in items if item.status.done]
        arrived = sum(item.size or 0 for item in done) + self._current
        return Progress(
            total_bytes=sum(item.size or 0 for item in items),
            downloaded_bytes=arrived,
            uploaded_bytes=arrived,
            total_files=len(items),
            done_files=len(done),
            speed_bps=self._speed(),
        )

    def _speed(self) -> float:
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - _WINDOW:
            self._recent.popleft()
        if not self._recent:
            return 0.0
        return round(sum(size for _, size in self._recent) / max(0.5, now - self._recent[0][0]), 1)
