"""The properties of a picture, a video or a piece of music, found from its two ends while it is uploaded.

A player needs the index of a video, which is at its beginning or end, and its first frames. Both ends are
copied to a sparse file, which ffprobe and ffmpeg read if they are installed; without them everything is
sent as a plain file. The format follows from the name and is forced, so that a file which only claims to be a
video cannot make the programs open other files.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

#: Bytes that are copied from each end.
_END: Final = 8 << 20
#: ffmpeg's names of the formats.
VIDEOS: Final = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska"}
_AUDIO: Final = {
    ".mp3": "mp3",
    ".m4a": "mov",
    ".flac": "flac",
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "ogg",
}
_PHOTOS: Final = {".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".png": "png_pipe"}
#: Extensions of recordings by Telegram's apps.
_VOICE: Final = (".ogg", ".oga")
_SECONDS: Final = 20.0
#: Maximum width and height of the picture in pixels, and its maximum bytes (https://core.telegram.org/api/files).
_SIDE: Final = 320
_MAX_PICTURE: Final = 200_000
#: Limits of a photo: bytes, sum of width and height in pixels, and their ratio
#: (https://core.telegram.org/bots/api#sendphoto).
_MAX_PHOTO: Final = 10 << 20
_MAX_PHOTO_SIDES: Final = 10_000
_MAX_PHOTO_RATIO: Final = 20
#: Pixels of an 8K frame. A frame that claims to be larger could exhaust the memory.
_MAX_PIXELS: Final = str(7680 * 4320)
#: The fields that ffprobe reports.
_FIELDS: Final = (
    "format=duration:format_tags=title,artist:stream=codec_type,codec_name,width,height"
    ":stream_tags=title,artist:stream_side_data=rotation"
)


@dataclass(frozen=True, slots=True)
class Video:
    """What a player shows before it starts."""

    seconds: float
    width: int
    height: int
    picture: bytes = field(default=b"", repr=False)  # JPEG, empty if there is none


@dataclass(frozen=True, slots=True)
class Audio:
    """What a player of music shows; or a recording, if it is `voice`."""

    seconds: float
    title: str = ""
    performer: str = ""
    voice: bool = False


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture within the limits of photos."""

    width: int
    height: int


#: As what Telegram shows a file.
MediaProperties = Video | Audio | Photo


class MediaProbe:
    """Collects the two ends of a file of `size` bytes. Uses at most 16 MiB of disk in `folder`."""

    def __init__(self, name: str, size: int, folder: Path, *, videos_only: bool = True) -> None:
        formats = VIDEOS if videos_only else {**VIDEOS, **_AUDIO, **_PHOTOS}
        self._suffix = Path(name).suffix.lower()
        self._format = formats.get(self._suffix, "")
        self._size = size
        self._fd = -1
        if self._suffix in _PHOTOS and size > _MAX_PHOTO:
            return
        if self._format and shutil.which("ffprobe"):
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                self._fd, path = tempfile.mkstemp(dir=folder)
                Path(path).unlink()

    def add(self, offset: int, data: memoryview) -> None:
        """Add bytes of the file. If the disk is full, only the properties are lost."""
        for start, end in ((0, min(_END, self._size)), (max(_END, self._size - _END), self._size)):
            piece = data[max(0, start - offset) : max(0, end - offset)]
            if piece and self._fd >= 0:
                with suppress(OSError):
                    os.pwrite(self._fd, piece, max(start, offset))

    async def properties(self) -> MediaProperties | None:
        """The properties of the file, after all bytes were added; None if it is sent as a plain file."""
        if self._fd < 0:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            os.truncate(self._fd, self._size)  # not every file system allows this size
            output = json.loads(
                await self._run("ffprobe", *self._input, "-show_entries", _FIELDS, "-of", "json")
            )
            if self._suffix in _PHOTOS:
                return _photo(output)
            if self._suffix in _AUDIO:
                return _audio(output, voice=self._suffix in _VOICE)
            return replace(_video(output), picture=await self._picture())
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
        """The output of a program, b"" if it fails at once."""
        return (await run_program(program, *arguments, fds=[self._fd], seconds=_SECONDS))[1]

    def close(self) -> None:
        """Remove the sparse file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def run_program(program: str, *arguments: str, fds: Sequence[int], seconds: float) -> tuple[int, bytes]:
    """The exit code and output of a program that inherits these descriptors. -1 without output if it is not
    installed or takes longer."""
    if not (found := shutil.which(program)):
        return -1, b""
    process = await asyncio.create_subprocess_exec(
        found,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=fds,
    )
    try:
        async with asyncio.timeout(seconds):
            written, _ = await process.communicate()
        return process.returncode or 0, written
    except TimeoutError:
        return -1, b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _stream(output: Any, kind: str) -> Any:
    """The first stream of this kind in the output of ffprobe. Raises `ValueError` if there is none; as the
    functions below, also `KeyError` or `TypeError` for an unexpected output."""
    found = (each for each in output["streams"] if each["codec_type"] == kind)
    if not (stream := next(found, None)):
        raise ValueError(f"no {kind}")
    return stream


def _video(output: Any) -> Video:
    stream = _stream(output, "video")
    width, height = int(stream["width"]), int(stream["height"])
    if any(int(each.get("rotation", 0)) % 180 for each in stream.get("side_data_list", ())):
        width, height = height, width
    return Video(float(output["format"]["duration"]), width, height)


def _audio(output: Any, *, voice: bool) -> Audio:
    stream = _stream(output, "audio")
    tags = _tags(output["format"]) | _tags(stream)
    title, performer = tags.get("title", ""), tags.get("artist", "")
    is_recording = voice and stream["codec_name"] == "opus" and not (title or performer)
    return Audio(float(output["format"]["duration"]), title, performer, is_recording)


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in described.get("tags", {}).items()}


def _photo(output: Any) -> Photo | None:
    """None if the picture is outside of the limits."""
    stream = _stream(output, "video")
    width, height = int(stream["width"]), int(stream["height"])
    fits = width + height <= _MAX_PHOTO_SIDES and max(width, height) <= _MAX_PHOTO_RATIO * min(width, height)
    return Photo(width, height) if fits and min(width, height) else None
