"""Cuts a video into parts that play by themselves, without encoding it again.

A part begins at a key frame after which no frame depends on those before it, so that players show all frames.
The cuts follow from the sizes of the packets. ffmpeg copies the packets; afterwards they are counted, because
a part that lacks some would go unnoticed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from saveany.errors import StorageError
from saveany.texts import gettext_noop
from storages.media import VIDEOS, run_program

#: Extension -> ffmpeg's name of the format that is written.
_MUXERS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
#: Share of the limit that packets may have, and bytes that are left, for the index of a part.
_SHARE, _INDEX_BYTES = 0.98, 32 << 10
#: Seconds for a program, and bytes per second that it processes at least.
_SECONDS, _BYTES_PER_SECOND = 60.0, 5 << 20
_NEW_SECONDS: Final = 60.0
#: Where parts are cut: `scratch/video-parts-…`, removed when they are open.
PREFIX: Final = "video-parts-"

NO_FFMPEG = gettext_noop("ffmpeg is not installed")
NO_ROOM = gettext_noop("there is not enough room for it in {folder}")
_NO_KEY_FRAMES = gettext_noop("it has too few key frames at which it could be cut")
_SEVERAL = gettext_noop("it has several pictures at the same time")
_FAILED = gettext_noop("ffmpeg cannot cut it")


class CannotCut(StorageError):
    """The video cannot be cut."""


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A part, in a file without a name; `close` frees its space."""

    fd: int
    size: int

    def close(self) -> None:
        """Remove it."""
        os.close(self.fd)


def can_be_cut(name: str) -> bool:
    """Whether a file with this name may be a video that can be cut."""
    return Path(name).suffix.lower() in _MUXERS


async def cut(fd: int, name: str, size: int, limit: int, folder: Path) -> list[VideoPart]:
    """The parts of a video, each of at most `limit` bytes. `fd` has the `size` bytes of the file `name`. Uses
    the same space again in `folder`. Raises `CannotCut`."""
    suffix = Path(name).suffix.lower()
    video = _Video(fd, VIDEOS[suffix], suffix, _SECONDS + size / _BYTES_PER_SECOND)
    try:
        return await _cut(video, limit, folder)
    except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
        raise CannotCut(_FAILED) from error


async def _cut(video: _Video, limit: int, folder: Path) -> list[VideoPart]:
    await video.look()
    for share in (_SHARE, 0.9 * _SHARE):  # the index of a part may be larger than expected
        room = int(limit * share) - _INDEX_BYTES
        frames = await asyncio.to_thread(cut_points, video.packets, video.stream, room)
        parts = await video.parts(frames, folder)
        try:
            if len(parts) == len(frames) + 1 and all(part.size <= limit for part in parts):
                await video.check_complete(parts)
                result, parts = parts, []
                return result
        finally:
            for part in parts:
                part.close()
    raise CannotCut(_FAILED)


def cut_points(packets: bytes, stream: int, limit: int) -> list[int]:
    """The numbers of the video frames at which parts begin, except the first one, so that the packets of
    none have more than `limit` bytes. Raises `CannotCut` if there are too few key frames."""
    cuts: list[int] = []
    begin = 0
    last: tuple[int, int] | None = None
    for frame, before in _boundaries(packets, stream):
        if before - begin > limit:
            if last is None or before - last[1] > limit:
                raise CannotCut(_NO_KEY_FRAMES)
            cuts.append(last[0])
            begin = last[1]
        last = frame, before
    return cuts


def _boundaries(packets: bytes, stream: int) -> Iterator[tuple[int, int]]:
    """The number of each frame at which a part may begin, and the bytes of all packets before it; at last,
    those of the end."""
    total = frames = 0
    key: tuple[int, int, int] | None = None  # frame, bytes before it, time
    for index, shown_at, size, flags in _parsed(packets):
        if index == stream:
            if "K" in flags:
                if key and key[0]:
                    yield key[:2]
                key = frames, total, int(shown_at)
            elif key and int(shown_at) < key[2]:
                key = None  # frames that are shown before the key frame depend on those before it
            frames += 1
        total += size
    if key and key[0]:
        yield key[:2]
    yield frames, total


def _parsed(packets: bytes) -> Iterator[tuple[int, str, int, str]]:
    """Stream, time, size and flags of each packet in the output of ffprobe. Some lines have more fields."""
    for line in packets.decode("ascii", "replace").splitlines():
        fields = line.split(",")
        if len(fields) >= 4:
            yield int(fields[0]), fields[1], int(fields[2]), fields[3]


class _Video:
    """The video that is cut, and what is known of it."""

    def __init__(self, fd: int, demuxer: str, suffix: str, seconds: float) -> None:
        self._fd = fd
        self._demuxer = demuxer
        self._suffix = suffix
        self._seconds = seconds
        self.stream = 0  # index of the video among the streams
        self.packets = b""  # output of ffprobe

    async def look(self) -> None:
        """Read the properties of all packets. Raises `CannotCut`."""
        found = [
            each["index"]
            for each in (await self._streams(self._fd))["streams"]
            if each["codec_type"] == "video" and not each["disposition"]["attached_pic"]
        ]
        if len(found) != 1:
            raise CannotCut(_SEVERAL if found else _FAILED)
        self.stream = found[0]
        shown = ("-show_entries", "packet=stream_index,pts,size,flags", "-of", "csv=p=0")
        self.packets = await self._probe(self._fd, *shown)

    async def parts(self, frames: Sequence[int], folder: Path) -> list[VideoPart]:
        """The parts that begin at these frames. Raises `CannotCut`."""
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as place, _locked(place) as lock:
            options = ["-segment_format", _MUXERS[self._suffix]]
            if _MUXERS[self._suffix] in ("mp4", "mov"):
                options += ["-segment_format_options", "movflags=+faststart"]
            code, _ = await run_program(
                "ffmpeg",
                *("-nostdin", "-v", "error", *self._input(self._fd)),
                *("-map", f"0:{self.stream}", "-map", "0:a?", "-map", "0:s?", "-map_chapters", "-1"),
                *("-c", "copy", "-f", "segment", "-segment_frames", ",".join(map(str, frames))),
                *("-reset_timestamps", "1", *options, f"file:{place}/%d{self._suffix}"),
                fds=[self._fd, lock],
                seconds=self._seconds,
            )
            if code:
                raise CannotCut(_FAILED)
            return _opened(Path(place))

    async def check_complete(self, parts: Sequence[VideoPart]) -> None:
        """Raise `CannotCut` unless the parts have all frames of the video, each once."""
        counted = [await self._count(part.fd) for part in parts]
        if sum(counted) != sum(1 for index, *_ in _parsed(self.packets) if index == self.stream):
            raise CannotCut(_FAILED)

    async def _count(self, fd: int) -> int:
        streams = (await self._streams(fd, "-count_packets"))["streams"]
        return sum(int(each["nb_read_packets"]) for each in streams if each["codec_type"] == "video")

    async def _streams(self, fd: int, *options: str) -> Any:
        shown = "stream=index,codec_type,nb_read_packets:stream_disposition=attached_pic"
        return msgspec.json.decode(await self._probe(fd, *options, "-show_entries", shown, "-of", "json"))

    async def _probe(self, fd: int, *options: str) -> bytes:
        arguments = ("-v", "error", *self._input(fd), *options)
        code, output = await run_program("ffprobe", *arguments, fds=[fd], seconds=self._seconds)
        if code:
            raise CannotCut(_FAILED)
        return output

    def _input(self, fd: int) -> tuple[str, ...]:
        """The format is forced, so that a file which only claims to be a video opens no other files."""
        return ("-protocol_whitelist", "file", "-f", self._demuxer, "-i", f"file:/dev/fd/{fd}")


def _opened(folder: Path) -> list[VideoPart]:
    """The parts in a folder, in order."""
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    return [VideoPart(os.open(path, os.O_RDONLY), path.stat().st_size) for path in paths]


@contextmanager
def _locked(folder: str) -> Iterator[int]:
    """Hold a lock of a folder, which ends with this process and the programs that inherit it."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def remove_leftovers(folder: Path) -> None:
    """Remove what workers that were killed while ffmpeg ran have left."""
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < _NEW_SECONDS:
                continue  # it may not be locked yet
            fd = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
