"""The order in which the files of a task appear, where readers see it."""

from __future__ import annotations

import asyncio

from storages.base import Storage


class PublishingOrder:
    """Lets files appear in their order in storages that show it (capability `ordered`), although they are
    uploaded at the same time: each waits for those before it.

    A file whose attempt has failed loses its place, so that it delays no other, unless the storage has asked
    it to wait for some time: it would ask the same of the next one.
    """

    def __init__(self) -> None:
        #: Names of storages, by the index of a file, or of the first one of an album.
        self._expected: dict[int, str] = {}
        self._left = asyncio.Event()

    def expect(self, index: int, storage: Storage | None) -> None:
        """This file will be published; later ones wait for it."""
        if storage is not None and storage.capabilities.ordered:
            self._expected[index] = storage.name

    async def wait(self, index: int, storage: Storage) -> None:
        """Wait until no earlier file of this storage is expected."""
        while any(other < index and name == storage.name for other, name in self._expected.items()):
            await self._left.wait()

    def leave(self, index: int) -> None:
        """The file is published, or later ones need not wait for it. Harmless when repeated."""
        if self._expected.pop(index, None) is not None:
            self._left.set()
            self._left = asyncio.Event()
