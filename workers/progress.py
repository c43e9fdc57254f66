"""How fast and how far: the numbers of one running task."""

from __future__ import annotations

import time
from collections import deque

from saveany.models import Progress, Stage
from saveany.texts import Text
from workers.item_records import ItemRecords

#: The speed shown is the mean over this many seconds; over more of them where less often something comes.
_WINDOW = 5.0
#: After so many seconds without a byte nothing moves any more.
_STANDSTILL = 300.0
#: A fetch that begins with more bytes than this goes on with what was there.
_LEAP = 16 << 20


class ProgressMeter:
    """Counts the bytes of a task as they pass."""

    def __init__(self, ledger: ItemRecords, shown: Progress | None = None) -> None:
        """`shown` is how far the task was before, as people have seen it: it never goes back behind that."""
        self.stage = Stage.RESOLVING
        #: Why nothing is done for the moment.
        self.trouble: Text | None = None
        self._shown = shown or Progress()
        self._ledger = ledger
        self._stored = 0  # bytes of the item in flight that are in the storage …
        self._fetched = 0  # … and that were brought to this machine before, by a source that needs that
        self._expected = 0  # bytes of the item in flight, while only its source knows
        self._held: set[int] = set()  # items whose bytes are in the storage, not yet to be seen there
        #: When something came and how much; before that, since when it was waited for.
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

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
        self._begin_anew()

    def add(self, size: int) -> None:
        """`size` more bytes of the item in flight have arrived and are written."""
        self._stored += size
        self._recent.append((time.monotonic(), size))

    def report(self, fetched: int, total: int | None) -> None:
        """So many bytes of the item in flight were brought to this machine, of so many if that is known."""
        self.stage = Stage.DOWNLOADING
        if not self._fetched:
            self._begin_anew()
        came = max(0, fetched - self._fetched)
        was_there = not self._fetched and came > _LEAP
        self._recent.append((time.monotonic(), 0 if was_there else came))
        self._fetched, self._expected = fetched, total or 0

    def progress(self) -> Progress:
        """The sums of this moment."""
        items, shown = self._ledger.items, self._shown
        done = [item for item in items if item.status.done]
        before = sum(item.size or 0 for item in items if item.status.done or item.index in self._held)
        total = max(before + self._expected, sum(item.size or 0 for item in items))
        most = total if all(item.size is not None for item in items) else shown.downloaded_bytes
        downloaded, uploaded = before + max(self._stored, self._fetched), before + self._stored
        stalled = self.trouble or self._stalled()
        self._shown = Progress(
            total_bytes=total,
            downloaded_bytes=max(downloaded, min(shown.downloaded_bytes, most)),
            uploaded_bytes=max(uploaded, min(shown.uploaded_bytes, most)),
            total_files=len(items),
            done_files=len(done),
            speed_bps=self._speed(),
            stalled=str(stalled or ""),
            stalled_text=stalled,
        )
        return self._shown

    def _stalled(self) -> Text | None:
        moves = self.stage in (Stage.DOWNLOADING, Stage.UPLOADING)
        if moves and time.monotonic() - self._recent[-1][0] > _WINDOW:
            return Text("no bytes have arrived for more than {seconds} s", {"seconds": round(_WINDOW)})
        return None

    def _begin_anew(self) -> None:
        """If nothing has come for a while: it was not waited for."""
        now = time.monotonic()
        if self._recent[-1][0] < now - _WINDOW:
            self._recent = deque([(now, 0)])

    def _speed(self) -> float:
        """Since the last thing that came before the window: what comes seldom is not nothing."""
        now, recent = time.monotonic(), self._recent
        while len(recent) > 2 and recent[1][0] < now - _WINDOW:
            recent.popleft()
        if recent[-1][0] < now - _STANDSTILL:
            return 0.0
        came = sum(size for _, size in recent) - recent[0][1]
        return round(came / max(0.5, now - recent[0][0]), 1)
