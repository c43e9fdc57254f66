"""A recording on this machine's disk: the parts of a stream, and the segments that were made of them.

Everything that is known is in the names of the files, so a worker that takes over after a crash continues
with what is there. A file appears under its name when it is complete.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from saveany.errors import NoSpace
from saveany.net.guard import AddressGuard
from saveany.telegram.livestream import PART_MS, LivePart
from workers.sources import disk
from workers.sources.joining import join

_SUFFIX: Final = ".mp4"
_UNFINISHED: Final = "unfinished"
_ENDED: Final = "ended"


class Segment(NamedTuple):
    """Consecutive parts in one file. Times are those of the stream."""

    first_ms: int
    last_ms: int
    seconds: int
    file: Path

    @property
    def key(self) -> str:
        """Identifies it within its recording."""
        return self.file.stem


class RecordingFolder:
    """The recording of one stream."""

    def __init__(
        self, folder: Path, *, program: str, guard: AddressGuard, max_parts: int, max_bytes: int
    ) -> None:
        """A segment has at most so many parts, and about as many bytes. `program` is ffmpeg."""
        self._parts_folder = folder / "parts"
        self._segments_folder = folder / "segments"
        self._folder = folder
        self._program = program
        self._guard = guard
        self._max_parts = max_parts
        self._max_bytes = max_bytes
        self._parts: dict[int, int] = {}  # time -> size, of those that are in no segment
        self._tried = (0, 0)  # number of parts and bytes that could not be made a segment
        #: The segments on this disk, in order.
        self.segments: list[Segment] = []
        self.has_ended = False

    async def open(self) -> None:
        """Find out what is there. Raises `NoSpace`."""
        with room_needed():
            await asyncio.to_thread(self._open)

    def _open(self) -> None:
        self._parts_folder.mkdir(parents=True, exist_ok=True)
        self._segments_folder.mkdir(exist_ok=True)
        found = (self._segment(self._segments_folder / name) for name in disk.names(self._segments_folder))
        self.segments = sorted(each for each in found if each)
        self.has_ended = (self._folder / _ENDED).exists()
        covered = self.segments[-1].last_ms if self.segments else -1
        self._parts = {}
        for file in sorted(self._parts_folder.iterdir()):
            if file.suffix == _SUFFIX and file.stem.isdecimal() and int(file.stem) > covered:
                self._parts[int(file.stem)] = file.stat().st_size
            else:
                file.unlink()

    def _segment(self, file: Path) -> Segment | None:
        fields = file.stem.split("-")
        if file.suffix != _SUFFIX or len(fields) != 3 or not all(each.isdecimal() for each in fields):
            return None
        first, last, seconds = map(int, fields)
        return Segment(first, last, seconds, file)

    @property
    def last_ms(self) -> int | None:
        """The time of the newest part; None if there is none."""
        newest = max(self._parts, default=None)
        return newest if newest is not None or not self.segments else self.segments[-1].last_ms

    @property
    def is_full(self) -> bool:
        """Whether the parts suffice for a segment; after a failed `cut`, whether as many more have come."""
        count, size = self._tried
        return len(self._parts) - count >= self._max_parts or self.waiting_bytes - size >= self._max_bytes

    @property
    def waiting_bytes(self) -> int:
        """The size of the parts that are in no segment."""
        return sum(self._parts.values())

    async def add(self, part: LivePart) -> None:
        """Keep a part. Raises `NoSpace`."""
        await asyncio.to_thread(_write, self._parts_folder / f"{part.time_ms:020d}{_SUFFIX}", part.data)
        self._parts[part.time_ms] = len(part.data)

    async def cut(self) -> Segment | None:
        """Make a segment of all parts; None if there are none. Raises as `join`; the parts stay then."""
        times = sorted(self._parts)
        if not times:
            return None
        self._tried = len(times), self.waiting_bytes
        pieces = [(f"{each:020d}{_SUFFIX}", PART_MS / 1000) for each in times]
        await join(self._program, self._parts_folder, pieces, _UNFINISHED, self._guard)
        file = self._segments_folder / f"{times[0]:020d}-{times[-1]:020d}-{len(times)}{_SUFFIX}"
        await asyncio.to_thread((self._parts_folder / _UNFINISHED).rename, file)
        segment = Segment(times[0], times[-1], len(times), file)
        self.segments.append(segment)
        self._parts, self._tried = {}, (0, 0)
        for name, _ in pieces:
            await asyncio.to_thread((self._parts_folder / name).unlink, missing_ok=True)
        return segment

    async def end(self) -> None:
        """The stream has ended. Raises `NoSpace`."""
        with room_needed():
            await asyncio.to_thread((self._folder / _ENDED).touch)
        self.has_ended = True

    async def reopen(self) -> None:
        """Whether the stream has ended is to be found out again."""
        await asyncio.to_thread((self._folder / _ENDED).unlink, missing_ok=True)

    def place(self, key: str) -> Path:
        """Where the segment with this key is, or would be."""
        return self._segments_folder / f"{key}{_SUFFIX}"

    async def join(self, keys: list[str]) -> Path:
        """One file with the segments that have these keys. Raises as `join`."""
        out = self._folder / f"joined{_SUFFIX}"
        if not await asyncio.to_thread(out.exists):
            pieces = [(f"{key}{_SUFFIX}", float(key.rpartition("-")[2])) for key in keys]
            await join(self._program, self._segments_folder, pieces, _UNFINISHED, self._guard)
            await asyncio.to_thread((self._segments_folder / _UNFINISHED).rename, out)
        return out

    async def write_playlist(self, entries: list[tuple[str, int]]) -> Path:
        """A playlist of files with these names and lengths in seconds."""
        lines = [f"#EXTINF:{seconds},{name}\n{name}\n" for name, seconds in entries]
        file = self._folder / "playlist.m3u8"
        await asyncio.to_thread(_write, file, "".join(["#EXTM3U\n", *lines]).encode())
        return file

    async def has_room_for_all(self) -> bool:
        """Whether the disk has room for one more copy of all segments."""

        def check() -> bool:
            needed = sum(each.file.stat().st_size for each in self.segments if each.file.exists())
            return shutil.disk_usage(self._folder).free > needed

        return await asyncio.to_thread(check)


def _write(file: Path, data: bytes) -> None:
    unfinished = file.with_name(f"{file.name}.{_UNFINISHED}")
    try:
        with room_needed():
            unfinished.write_bytes(data)
            unfinished.replace(file)
    except NoSpace:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def room_needed() -> Iterator[None]:
    """Raise `NoSpace` where this machine's disk refuses something."""
    try:
        yield
    except OSError as error:
        raise NoSpace("the recording cannot be kept: {reason}", reason=error.strerror or "") from error
