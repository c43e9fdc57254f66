"""Thumbnails of files: Telegram's own, or a frame that ffmpeg takes. They are kept in `data_dir`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from saveany.catalogue.link_models import Link
from saveany.delivery.content import mime_of
from saveany.delivery.errors import FileNotFound, NotNow
from saveany.delivery.frames import AT_ONCE, FrameMaker
from saveany.delivery.opener import ContentOpener
from saveany.delivery.telegram import TelegramFiles
from saveany.errors import TaskError
from saveany.single_flight import SingleFlight

#: Maximum number of bytes that are kept; then the oldest quarter is removed.
MAX_BYTES: Final = 256 << 20
#: Seconds for which it is remembered that a file has none.
_NONE_SECONDS: Final = 24 * 3600
#: Maximum number of files that wait for a frame.
_MAX_WAITING: Final = 64
_WITH_PICTURES: Final = ("video/", "image/", "audio/")


class Thumbnails:
    """Small JPEG pictures of the files of links."""

    def __init__(
        self, folder: Path, telegram: TelegramFiles, opener: ContentOpener, frames: FrameMaker
    ) -> None:
        self._kept = ThumbnailFolder(folder)
        self._telegram = telegram
        self._opener = opener
        self._frames = frames
        self._calls = SingleFlight()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0  # for a frame

    async def get(self, link: Link) -> bytes:
        """The picture of the file of a link. Raises `FileNotFound` if there is none, and `Unavailable`."""
        key = _key(link)
        data = await asyncio.to_thread(self._kept.read, key)
        if data is None:
            data = await self._calls.run(key, lambda: self._make_and_keep(key, link))
        if not data:
            raise FileNotFound
        return data

    async def close(self) -> None:
        """Release what making pictures needs."""
        await self._frames.close()

    async def _make_and_keep(self, key: str, link: Link) -> bytes:
        data = await self._make(link)
        with suppress(OSError):  # such as a full disk: then it is made again
            await asyncio.to_thread(self._kept.write, key, data)
        return data

    async def _make(self, link: Link) -> bytes:
        source = link.media.source if link.media else link.file.origin if link.file else None
        own, later = await self._from_telegram(source) if source else (b"", None)
        if own:
            return own
        mime = (link.media.mime if link.media else link.file.mime if link.file else "") or mime_of(link.name)
        may_have_one = mime.startswith(_WITH_PICTURES) and self._frames.path
        if may_have_one and (picture := await self._frame(link)):
            return picture
        if later:
            raise NotNow(later.after) from later
        return b""

    async def _frame(self, link: Link) -> bytes:
        """A frame of the file; empty if it has none. A file is opened only when its turn has come: a page
        that nobody waits for any more may have asked for thousands."""
        if self._waiting >= _MAX_WAITING:
            raise NotNow
        self._waiting += 1
        try:
            async with self._turns:
                content = await self._opener.open(link)
                try:
                    return await self._frames.make(content)
                finally:
                    await content.close()
        finally:
            self._waiting -= 1

    async def _from_telegram(self, source: Mapping[str, Any]) -> tuple[bytes, TaskError | None]:
        """Telegram's own picture; empty if there is none, with the error if it may be read later."""
        try:
            return await self._telegram.thumbnail(source) or b"", None
        except TaskError as error:
            return b"", error if error.retryable else None


class ThumbnailFolder:
    """Pictures by key, in files. Several processes may use the folder."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._bytes: int | None = None  # in the folder, about; None: not counted yet

    def read(self, key: str) -> bytes | None:
        """The picture; empty if it is known that there is none, None if nothing is known."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            if not data and time.time() - path.stat().st_mtime > _NONE_SECONDS:
                return None
        except OSError:
            return None
        return data

    def write(self, key: str, data: bytes) -> None:
        """Keep a picture; empty says that there is none."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f".{secrets.token_hex(8)}"
        try:
            part.write_bytes(data)
            part.replace(self._path(key))
        finally:
            part.unlink(missing_ok=True)
        if self._bytes is None:
            self._bytes = sum(size for _, size, _ in self._files())
        else:
            self._bytes += len(data) + _FILE_BYTES
        if self._bytes > self._max_bytes:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._max_bytes * 3 // 4:
                break
            with suppress(OSError):
                Path(path).unlink()
            total -= size
        self._bytes = total

    def _files(self) -> list[tuple[float, int, str]]:
        """When it was written, its size on the disk, and the path of each file."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size + _FILE_BYTES, entry.path))
        return found

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.jpg"


#: Bytes that a file takes besides its content, so that empty ones count, too.
_FILE_BYTES: Final = 512


def _key(link: Link) -> str:
    """What the picture depends on: the content of the file. Raises `FileNotFound` for a folder."""
    if link.media:
        return f"telegram {link.media.source['document']}"
    if link.file is None:
        raise FileNotFound
    return f"content {link.file.sha256}" if link.file.sha256 else f"file {link.file.id}"
