"""Uploads that send a file that Telegram has already, without its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storages.base import Range, Receipt, Upload
from storages.telegram.volumes import Volume

if TYPE_CHECKING:
    from storages.telegram.storage import TelegramStorage


class ReferenceUpload(Upload):
    """An upload that is complete from the beginning: the sender knows the file."""

    def __init__(self, storage: TelegramStorage, path: str, volume: Volume, caption: str) -> None:
        self._storage = storage
        self._path = path
        self._volume = volume
        self._caption = caption

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Not possible: there is nothing to write."""
        raise NotImplementedError("the file is sent by reference")

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """Nothing is stored here."""
        return ()

    async def seal(self, size: int) -> None:
        """As in the contract."""

    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """As in the contract. Nothing is replaced: messages have no names."""
        await self._storage.send_reference(path, self._volume, self._caption)
        return self._storage.receipt(path, size, [self._volume])

    async def abort(self) -> None:
        """As in the contract."""

    async def __aexit__(self, *exc: object) -> None:
        """Holds nothing."""
