"""The progress of one running task: bytes, speed, and the reason why it has stalled."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from saveany.models import Progress, Stage
from saveany.texts import Text
from workers.item_records import ItemRecords

#: Seconds over which the shown speed is averaged. Where bytes arrive more rarely, the interval is longer.
_WINDOW = 5.0
#: Seconds without a byte after which the shown speed is 0.
_STANDSTILL = 300.0
#: A first report of more bytes than this counts bytes that were on the disk before, not their speed.
_LEAP = 16 << 20
#: The stages of files, in order.
_STAGES = (Stage.DOWNLOADING, Stage.UPLOADING, Stage.VERIFYING, Stage.JOINING)


class FileProgress:
    """The bytes of one file in flight. They count until the item is recorded as saved."""

    def __init__(self, meter: ProgressMeter) -> None:
        self._meter = meter
        #: Bytes in the storage.
        self.stored = 0
        #: Bytes on this machine, for sources that download to the disk first.
        self.fetched = 0
        #: What is done with the file; None until its source or its storage begins.
        self.stage: Stage | None = None
        #: Size of the file, while only its source knows it; 0 if unknown.
        self.expected = 0
        #: Bytes of the task that were shown before.
        self.before = 0

    def set_stage(self, stage: Stage) -> None:
        """Set the stage of the file."""
        self.stage = stage

    def restart(self, size: int) -> None:
        """Writing begins; the storage has `size` bytes of the file already."""
        self.stored = size
        self._meter.resume_clock()

    def add(self, size: int) -> None:
        """`size` more bytes were written to the storage."""
        self.stored += size
        self._meter.count(size)

    def report(self, fetched: int, total: int | None) -> None:
        """The source has `fetched` bytes on this machine, of `total` if it knows that."""
        self.set_stage(Stage.DOWNLOADING)
        if not self.fetched:
            self._meter.resume_clock()
        new = max(0, fetched - self.fetched)
        was_there = not self.fetched and new > _LEAP
        self._meter.count(0 if was_there else new)
        self.fetched, self.expected = fetched, total or 0


class ProgressMeter:
    """Sums up the files of a task."""

    def __init__(self, records: ItemRecords, shown: Progress | None = None) -> None:
        """`shown` is the progress that was published last, by whichever worker: the byte counts never fall
        below it."""
        self._stage = Stage.RESOLVING
        self._in_flight = 0  # files
        #: The errors after which steps wait for their next attempt.
        self._retry_reasons: list[Text] = []
        self._shown = shown or Progress()
        self._records = records
        self._files: dict[int, FileProgress] = {}
        self._growth = FileProgress(self)
        #: (time, bytes) of recent arrivals. The first entry only marks where the clock starts.
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    @property
    def stage(self) -> Stage:
        """The stage of the task: the earliest one of the files in flight."""
        stages = {self._growth.stage, *(file.stage for file in self._files.values())}
        self._stage = next((stage for stage in _STAGES if stage in stages), self._stage)
        return self._stage

    @contextmanager
    def file_in_flight(self) -> Iterator[None]:
        """A file, or an album, is being saved until the block ends."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def waiting_for_retry(self, reason: Text) -> Iterator[None]:
        """A step waits for its next attempt until the block ends. The task has stalled only if this is so for
        every file in flight."""
        self._retry_reasons.append(reason)
        try:
            yield
        finally:
            self._retry_reasons.remove(reason)

    def start(self, index: int) -> FileProgress:
        """An attempt to save this item begins: its bytes are counted from 0."""
        self._files[index] = FileProgress(self)
        return self._files[index]

    def growth(self) -> FileProgress:
        """What has come to a task that grows, and is in no file yet, is counted from 0. While it is being
        downloaded, nobody knows how much will come."""
        self._growth = FileProgress(self)
        self._growth.before = self._shown.downloaded_bytes
        return self._growth

    def of(self, index: int) -> FileProgress:
        """The progress of an item that was started."""
        return self._files[index]

    def forget(self, index: int) -> None:
        """The item failed: none of its bytes count."""
        self._files.pop(index, None)

    def count(self, size: int) -> None:
        """`size` bytes have arrived just now."""
        self._recent.append((time.monotonic(), size))

    def resume_clock(self) -> None:
        """Bytes are awaited from now on: after an idle time the speed is measured anew."""
        now = time.monotonic()
        if self._recent[-1][0] < now - _WINDOW:
            self._recent = deque([(now, 0)])

    def progress(self) -> Progress:
        """The sums at this moment."""
        items, totals, shown = self._records.items, self._records.totals, self._shown
        for index in [index for index in self._files if items[index].status.done]:
            del self._files[index]
        files = self._files.values()
        uploaded = totals.saved + sum(file.stored for file in files)
        downloaded = totals.saved + sum(max(file.stored, file.fetched) for file in files)
        downloaded += self._growth.fetched
        total = max(totals.saved + sum(file.expected for file in files), totals.size)
        is_open = totals.unknown_sizes or self._growth.stage
        limit = shown.downloaded_bytes if is_open else total
        downloaded = max(downloaded, min(shown.downloaded_bytes, limit))
        if self._growth.stage:  # a segment is a little smaller than what it was made of
            total = max(total, downloaded)
        grows = self._growth.stage is Stage.DOWNLOADING
        stalled = self._stall_reason()
        self._shown = Progress(
            total_bytes=0 if grows else total,
            downloaded_bytes=downloaded,
            uploaded_bytes=max(uploaded, min(shown.uploaded_bytes, limit)),
            total_files=totals.files,
            done_files=totals.done,
            speed_bps=self._speed(),
            stalled=str(stalled or ""),
            stalled_text=stalled,
            grows=grows,
        )
        return self._shown

    def _stall_reason(self) -> Text | None:
        if self._retry_reasons and len(self._retry_reasons) >= self._in_flight:
            return self._retry_reasons[0]
        transfers = self.stage in (Stage.DOWNLOADING, Stage.UPLOADING)
        if transfers and time.monotonic() - self._recent[-1][0] > _WINDOW:
            return Text("no bytes have arrived for more than {seconds} s", {"seconds": round(_WINDOW)})
        return None

    def _speed(self) -> float:
        """Bytes per second since the last arrival before the window, so that rare arrivals count too."""
        now, recent = time.monotonic(), self._recent
        while len(recent) > 2 and recent[1][0] < now - _WINDOW:
            recent.popleft()
        if recent[-1][0] < now - _STANDSTILL:
            return 0.0
        arrived = sum(size for _, size in recent) - recent[0][1]
        return round(arrived / max(0.5, now - recent[0][0]), 1)
