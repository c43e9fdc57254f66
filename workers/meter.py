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
        self._stored = 0  # bytes of the item in flight that are in the storage …
        self._fetched = 0  # … and that were brought to this machine before, by a source that needs that
        self._expected = 0  # bytes of the item in flight, while only its source knows
        self._held: set[int] = set()  # items whose bytes are in the storage, not yet to be seen there
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def fetched(self) -> bool:
        """Whether the item in flight was brought to this machine first."""
        return self._fetched > 0

    def begin(self, index: int) -> None:
        """This item begins, or begins again."""
        self._stored = self._fetched = self._expected = 0
        self._held.discard(index)

    def hold(self, index: int) -> None:
        """All of the item in flight is in the storage, but its status says so later."""
        self.begin(index)
        self._held.add(index)

    def restart(self, size: int) -> None:
        """Writing begins; `size` bytes of the item are in the storage already."""
        self._stored = size

    def add(self, size: int) -> None:
        """`size` more bytes of the item in flight have arrived and are written."""
        self._stored += size
        self._recent.append((time.monotonic(), size))

    def report(self, fetched: int, total: int | None) -> None:
        """So many bytes of the item in flight were brought to this machine, of so many if that is known."""
        self.stage = Stage.DOWNLOADING
        self._recent.append((time.monotonic(), max(0, fetched - self._fetched)))
        self._fetched, self._expected = fetched, total or 0

    def progress(self) -> Progress:
        """The sums of this moment."""
        items = self._ledger.items
        done = [item for item in items if item.status.done]
        before = sum(item.size or 0 for item in items if item.status.done or item.index in self._held)
        return Progress(
            total_bytes=max(before + self._expected, sum(item.size or 0 for item in items)),
            downloaded_bytes=before + max(self._stored, self._fetched),
            uploaded_bytes=before + self._stored,
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
