"""Uploads of videos that are too large for one message, as parts that play by themselves."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from saveany.logs import get_logger
from saveany.texts import Text
from storages.base import Receipt, UploadKey
from storages.chunks import Chunk
from storages.media import MediaProbe
from storages.sequential import SequentialUpload
from storages.telegram.upload import TelegramUpload, VolumeUpload
from storages.telegram.video_parts import NO_ROOM, CannotCut, VideoPart, cut, remove_leftovers
from storages.telegram.volumes import Volume

if TYPE_CHECKING:
    from storages.telegram.storage import TelegramStorage

#: Bytes read from the disk at once.
_CHUNK: Final = 1 << 20
log = get_logger("saveany.storages")


class VideoUpload(SequentialUpload):
    """Collects the video in a file without a name, then cuts it and uploads the parts. If that is not
    possible, the video becomes ordinary volumes."""

    _storage: TelegramStorage

    def __init__(
        self,
        storage: TelegramStorage,
        key: UploadKey,
        path: str,
        limit: int,
        folder: Path,
        volumes: Callable[[Text], TelegramUpload],
        release: Callable[[], None],
    ) -> None:
        """`limit` is the maximum bytes of a part; `volumes` begins an upload of volumes, for a reason;
        `release` is called once, when `folder` has nothing of the video any more."""
        super().__init__(storage, path)
        self._key = key
        self._limit = limit
        self._folder = folder
        self._volumes_for = volumes
        self._release: Callable[[], None] | None = release
        self._volumes: TelegramUpload | None = None  # what the video becomes if it cannot be cut
        self._parts: list[Volume] = []
        self._fd = -1

    async def _send(self, data: Chunk) -> None:
        offset = self._written - memoryview(data).nbytes
        if self._volumes is None:
            try:
                await asyncio.to_thread(self._keep, offset, data)
                return
            except OSError as error:
                reason = Text(NO_ROOM, {"folder": str(self._folder)})
                if error.errno != errno.ENOSPC:
                    log.warning("video_not_kept", path=self._path, error=str(error))
                await self._fall_back(reason, offset)
        if self._volumes:
            await self._volumes.write(offset, data)

    def _keep(self, offset: int, data: Chunk) -> None:
        if self._fd < 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._folder)
            with TemporaryFile(dir=self._folder) as file:  # it disappears with this process
                self._fd = os.dup(file.fileno())
        rest = memoryview(data).cast("B")
        while rest:
            written = os.pwrite(self._fd, rest, offset)
            offset, rest = offset + written, rest[written:]

    async def _fall_back(self, reason: Text, size: int) -> None:
        """Upload the `size` bytes that are there as volumes; what follows goes there, too."""
        log.info("video_not_cut", path=self._path, reason=str(reason))
        self._volumes = self._volumes_for(reason)
        for offset in range(0, size, _CHUNK):
            piece = await asyncio.to_thread(os.pread, self._fd, min(_CHUNK, size - offset), offset)
            await self._volumes.write(offset, piece)
        self._close()

    async def _finish(self, size: int) -> None:
        if self._volumes is None:
            name = self._storage.destination(self._path).name
            try:
                parts = await cut(self._fd, name, size, self._limit, self._folder)
            except CannotCut as error:
                await self._fall_back(error.text, size)
            else:
                self._close()
                await self._upload(parts)
        if self._volumes:
            await self._volumes.seal(size)

    async def _upload(self, parts: list[VideoPart]) -> None:
        try:
            volumes = [
                Volume(self._key, n, len(parts), part.size, plays=True) for n, part in enumerate(parts)
            ]
            for volume, part in zip(volumes, parts, strict=True):
                await self._upload_part(volume, part.fd)
            self._storage.note_parts(self._key, volumes)
            self._parts = volumes
        finally:
            for part in parts:
                part.close()

    async def _upload_part(self, volume: Volume, fd: int) -> None:
        name = volume.name(self._storage.destination(self._path).name)
        probe = MediaProbe(name, volume.size, self._folder)
        upload = VolumeUpload(self._storage, self._path, volume)
        try:
            for offset in range(0, volume.size, _CHUNK):
                rest = memoryview(await asyncio.to_thread(os.pread, fd, _CHUNK, offset))
                probe.add(offset, rest)
                while rest:
                    rest = rest[await upload.take(rest) :]
            await upload.wait_for_all()
            self._storage.note_properties(volume, upload.md5.hexdigest(), await probe.properties())
        finally:
            await upload.stop()
            probe.close()

    async def _publish(self, path: str, size: int, *, replace: bool) -> Receipt:
        if self._volumes:
            return await self._volumes.commit(path, size, replace=replace)
        if not await self._storage.send_paced(path, self._parts):
            raise self._upload_error("Telegram has lost parts of {path!r}; the next attempt sends them again")
        return self._storage.receipt(path, size, self._parts)

    async def _stop(self) -> None:
        self._close()
        if self._release:
            self._release()
            self._release = None
        if self._volumes:
            await self._volumes.abort()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _remove(self) -> None:
        return  # Telegram removes parts that are not sent
