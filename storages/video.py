"""How long and how large a video is, and a picture of it, seen from its two ends while it passes by.

Players need the index of a video, which lies at its beginning or at its end, and its first frames. Both ends
go into a sparse file in which ffprobe and ffmpeg look, if they are there; without them a video is a file like
any other. The format is forced by the name: so what only claims to be a video cannot make them open others.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

#: Bytes at each end that are looked at.
_END: Final = 8 << 20
#: ffmpeg's names of the formats.
_FORMATS: Final = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska"}
_SECONDS: Final = 20.0
#: Sides of the picture in pixels, and its bytes, at most (https://core.telegram.org/api/files).
_SIDE: Final = 320
_LARGEST_PICTURE: Final = 200_000
#: Of a frame: 8K. One that claims to be larger would take all memory.
_MOST_PIXELS: Final = str(7680 * 4320)
#: What ffprobe is asked for.
_WANTED: Final = "format=duration:stream=codec_type,width,height:stream_side_data=rotation"


@dataclass(frozen=True, slots=True)
class Video:
    """What a player shows before it plays."""

    seconds: float
    width: int
    height: int
    picture: bytes = field(default=b"", repr=False)  # JPEG, empty if there is none


class VideoProbe:
    """The two ends of a file of `size` bytes that is named `name`. Takes 16 MiB of disk at most."""

    def __init__(self, name: str, size: int, folder: Path) -> None:
        self._format = _FORMATS.get(Path(name).suffix.lower(), "")
        self._size = size
        self._fd = -1
        if self._format and shutil.which("ffprobe"):
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                self._fd, path = tempfile.mkstemp(dir=folder)
                Path(path).unlink()

    def add(self, offset: int, data: memoryview) -> None:
        """Bytes of the file. A full disk only costs the preview."""
        for start, end in ((0, min(_END, self._size)), (max(_END, self._size - _END), self._size)):
            piece = data[max(0, start - offset) : max(0, end - offset)]
            if piece and self._fd >= 0:
                with suppress(OSError):
                    os.pwrite(self._fd, piece, max(start, offset))

    async def video(self) -> Video | None:
        """What is seen of it when all bytes have passed; None if that is no video."""
        if self._fd < 0:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            os.truncate(self._fd, self._size)  # some disks hold no file of that size
            told = await self._run("ffprobe", *self._input, "-show_entries", _WANTED, "-of", "json")
            return replace(_video(json.loads(told)), picture=await self._picture())
        return None

    async def _picture(self) -> bytes:
        scale = f"scale={_SIDE}:{_SIDE}:force_original_aspect_ratio=decrease"
        shape = ("-map", "0:v:0", "-frames:v", "1", "-vf", scale, "-q:v", "4", "-f", "mjpeg", "pipe:1")
        picture = await self._run("ffmpeg", "-nostdin", "-threads", "1", *self._input, *shape)
        return picture if len(picture) <= _LARGEST_PICTURE else b""

    @property
    def _input(self) -> tuple[str, ...]:
        guarded = ("-v", "error", "-protocol_whitelist", "file", "-max_pixels", _MOST_PIXELS)
        return (*guarded, "-f", self._format, "-i", f"file:/dev/fd/{self._fd}")

    async def _run(self, program: str, *arguments: str) -> bytes:
        """What it writes, nothing if it fails."""
        if not (found := shutil.which(program)):
            return b""
        process = await asyncio.create_subprocess_exec(
            found,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=[self._fd],
        )
        try:
            async with asyncio.timeout(_SECONDS):
                written, _ = await process.communicate()
            return written
        except TimeoutError:
            return b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def close(self) -> None:
        """Forget it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _video(told: Any) -> Video:
    """From what ffprobe tells; raises `ValueError`, `KeyError` or `TypeError` if that is no video."""
    found = (each for each in told["streams"] if each["codec_type"] == "video")
    if not (stream := next(found, None)):
        raise ValueError("no video")
    width, height = int(stream["width"]), int(stream["height"])
    if any(int(each.get("rotation", 0)) % 180 for each in stream.get("side_data_list", ())):
        width, height = height, width
    return Video(float(told["format"]["duration"]), width, height)
