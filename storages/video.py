"""The duration, size and preview picture of a video, found from its two ends while it is uploaded.

A player needs the index of a video, which is at its beginning or end, and its first frames. Both ends are
copied to a sparse file, which ffprobe and ffmpeg read if they are installed; without them a video is sent as
a plain file. The format follows from the name and is forced, so that a file which only claims to be a video
cannot make the programs open other files.
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

#: Bytes that are copied from each end.
_END: Final = 8 << 20
#: ffmpeg's names of the formats.
_FORMATS: Final = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska"}
_SECONDS: Final = 20.0
#: Maximum width and height of the picture in pixels, and its maximum bytes (https://core.telegram.org/api/files).
_SIDE: Final = 320
_MAX_PICTURE: Final = 200_000
#: Pixels of an 8K frame. A frame that claims to be larger could exhaust the memory.
_MAX_PIXELS: Final = str(7680 * 4320)
#: The fields that ffprobe reports.
_FIELDS: Final = "format=duration:stream=codec_type,width,height:stream_side_data=rotation"


@dataclass(frozen=True, slots=True)
class Video:
    """What a player shows before it starts."""

    seconds: float
    width: int
    height: int
    picture: bytes = field(default=b"", repr=False)  # JPEG, empty if there is none


class VideoProbe:
    """Collects the two ends of a file of `size` bytes. Uses at most 16 MiB of disk in `folder`."""

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
        """Add bytes of the file. If the disk is full, only the preview is lost."""
        for start, end in ((0, min(_END, self._size)), (max(_END, self._size - _END), self._size)):
            piece = data[max(0, start - offset) : max(0, end - offset)]
            if piece and self._fd >= 0:
                with suppress(OSError):
                    os.pwrite(self._fd, piece, max(start, offset))

    async def video(self) -> Video | None:
        """The properties of the video, after all bytes were added; None if the file is not a video."""
        if self._fd < 0:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            os.truncate(self._fd, self._size)  # not every file system allows this size
            output = await self._run("ffprobe", *self._input, "-show_entries", _FIELDS, "-of", "json")
            return replace(_video(json.loads(output)), picture=await self._picture())
        return None

    async def _picture(self) -> bytes:
        scale = f"scale={_SIDE}:{_SIDE}:force_original_aspect_ratio=decrease"
        shape = ("-map", "0:v:0", "-frames:v", "1", "-vf", scale, "-q:v", "4", "-f", "mjpeg", "pipe:1")
        picture = await self._run("ffmpeg", "-nostdin", "-threads", "1", *self._input, *shape)
        return picture if len(picture) <= _MAX_PICTURE else b""

    @property
    def _input(self) -> tuple[str, ...]:
        guarded = ("-v", "error", "-protocol_whitelist", "file", "-max_pixels", _MAX_PIXELS)
        return (*guarded, "-f", self._format, "-i", f"file:/dev/fd/{self._fd}")

    async def _run(self, program: str, *arguments: str) -> bytes:
        """The output of a program, b"" if it fails."""
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
        """Remove the sparse file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _video(output: Any) -> Video:
    """Parse the output of ffprobe; raises `ValueError`, `KeyError` or `TypeError` if there is no video."""
    found = (each for each in output["streams"] if each["codec_type"] == "video")
    if not (stream := next(found, None)):
        raise ValueError("no video")
    width, height = int(stream["width"]), int(stream["height"])
    if any(int(each.get("rotation", 0)) % 180 for each in stream.get("side_data_list", ())):
        width, height = height, width
    return Video(float(output["format"]["duration"]), width, height)
