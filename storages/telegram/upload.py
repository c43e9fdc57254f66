"""Uploads to Telegram, part by part."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from storages.base import (
    Receipt,
)
from storages.chunks import Chunk
from storages.media import MediaProbe, MediaProperties
from storages.message_sender import PART
from storages.sequential import SequentialUpload
from storages.telegram.volumes import Volume

if TYPE_CHECKING:
    from storages.telegram.storage import TelegramStorage

#: Parts of one file in flight.
_MAX_IN_FLIGHT: Final = 16


class TelegramUpload(SequentialUpload):
    """An upload of parts, several at once, each as soon as it is full."""

    _storage: TelegramStorage

    def __init__(self, storage: TelegramStorage, path: str, volumes: list[Volume], probe: MediaProbe) -> None:
        super().__init__(storage, path)
        self._volumes = volumes
        self._size = sum(volume.size for volume in volumes)
        self._left = iter(volumes)
        self._sending = VolumeUpload(storage, path, next(self._left))
        self._probe = probe

    async def _send(self, data: Chunk) -> None:
        rest = memoryview(data).cast("B")
        if self._written > self._size:
            raise self._upload_error(
                "{path!r} is longer than the {size} bytes that were announced", size=self._size
            )
        self._probe.add(self._written - len(rest), rest)
        while rest:
            rest = rest[await self._sending.take(rest) :]
            if self._sending.full and (following := next(self._left, None)):
                await self._end_volume()
                self._sending = VolumeUpload(self._storage, self._path, following)

    async def _end_volume(self, properties: MediaProperties | None = None) -> None:
        await self._sending.wait_for_all()
        self._storage.note_properties(self._sending.volume, self._sending.md5.hexdigest(), properties)

    async def _finish(self, size: int) -> None:
        if size != self._size:
            raise self._upload_error(
                "{path!r} has {size} bytes, but {planned} were announced", size=size, planned=self._size
            )
        await self._sending.wait_for_all()
        await self._end_volume(await self._probe.properties())

    async def _publish(self, path: str, size: int, *, replace: bool) -> Receipt:
        """Send the messages, at most ten at a time. Nothing is replaced: messages have no names."""
        if not await self._storage.send_paced(path, self._volumes):
            raise self._upload_error("Telegram has lost parts of {path!r}; the next attempt sends them again")
        return self._storage.receipt(path, size, self._volumes)

    async def _stop(self) -> None:
        await self._sending.stop()
        self._probe.close()

    async def _remove(self) -> None:
        return  # Telegram removes parts that are not sent


@dataclass(slots=True)
class VolumeUpload:
    """Uploads the parts of one volume."""

    storage: TelegramStorage
    path: str
    volume: Volume
    md5: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))  # of a small file
    _filling: bytearray = field(default_factory=bytearray)
    _done: int = 0  # bytes taken
    _number: int = 0  # number of the part that is being filled
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether all bytes were taken."""
        return self._done == self.volume.size

    async def take(self, data: memoryview) -> int:
        """Take bytes for the part that is being filled; returns how many. Waits while too many parts are in
        flight."""
        piece = data[: min(PART - len(self._filling), self.volume.size - self._done)]
        self._filling += piece
        self._done += len(piece)
        if not self.volume.big:
            self.md5.update(piece)
        if len(self._filling) == PART or self.full:
            while len(self._tasks) >= _MAX_IN_FLIGHT:
                await self._wait_for_part()
            part = self.volume.part(self._number, bytes(self._filling))
            self._tasks.add(asyncio.create_task(self.storage.upload_part(self.path, part)))
            self._filling.clear()
            self._number += 1
        return len(piece)

    async def wait_for_all(self) -> None:
        """Wait until Telegram has every part."""
        while self._tasks:
            await self._wait_for_part()

    async def _wait_for_part(self) -> None:
        """Wait for the next part; raises its error if it failed."""
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for error in [task.exception() for task in done]:
            if error:
                raise error

    async def stop(self) -> None:
        """Cancel the uploads of parts."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
