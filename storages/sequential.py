"""The base of uploads that take their bytes strictly in order: every storage without `random_writes`."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from saveany.errors import StorageError
from saveany.texts import Field, Text
from storages.base import Range, Receipt, Storage, Upload
from storages.chunks import Chunk
from storages.parts import split


class SequentialUpload(Upload):
    """Checks the order, the length, the final path and the state of an upload.

    A subclass sends the bytes (`_send`), waits until the storage has all of them (`_finish`), makes the file
    visible (`_publish`), stops running requests (`_stop`) and removes the sent bytes (`_remove`).
    """

    _storage: Storage

    def __init__(self, storage: Storage, path: str, start: int = 0) -> None:
        """`start` bytes were kept of an earlier epoch."""
        self._storage = storage
        self._path = path
        self._written = start  # bytes from the beginning of the file that were sent, or handed over
        self._sealed = False
        self._over = False  # committed, aborted or closed
        self.kept = ((0, start),) if start else ()

    async def write(self, offset: int, data: Chunk) -> None:
        """As in the contract, in order."""
        self._check_open()
        if self._sealed or offset != self._written:
            raise self._upload_error("{path!r} must be written in order")
        self._written += memoryview(data).nbytes
        await self._send(data)

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract: nothing, unless a subclass knows which bytes are durable."""
        return ()

    async def seal(self, size: int) -> None:
        """As in the contract."""
        self._check_open()
        if self._written != size:
            raise self._upload_error(
                "{path!r} must have {size} bytes, but {written} were written",
                size=size,
                written=self._written,
            )
        if not self._sealed:
            await self._finish(size)
            self._sealed = True

    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """As in the contract."""
        self._check_final(path)
        await self.seal(size)
        receipt = await self._publish(path, size, replace=replace)
        self._over = True
        return receipt

    async def abort(self) -> None:
        """As in the contract."""
        if not self._over:
            self._over = True
            await self._stop()
            await self._remove()

    async def __aexit__(self, *exc: object) -> None:
        was_over, self._over = self._over, True
        await self._stop()
        if not was_over:
            await self._leave()

    @abc.abstractmethod
    async def _send(self, data: Chunk) -> None:
        """Send the next bytes. `data` may be reused when this returns."""

    @abc.abstractmethod
    async def _finish(self, size: int) -> None:
        """Wait until the storage has all `size` bytes, under a name that nobody reads."""

    @abc.abstractmethod
    async def _publish(self, path: str, size: int, *, replace: bool) -> Receipt:
        """Make the sealed file visible. Raises `NameTaken` and `Fenced`."""

    @abc.abstractmethod
    async def _stop(self) -> None:
        """Stop running requests and release handles. May be called more than once."""

    @abc.abstractmethod
    async def _remove(self) -> None:
        """Remove the sent bytes, after `_stop`."""

    async def _leave(self) -> None:
        """Remove bytes that a later epoch cannot use. Called if neither commit nor abort was."""
        return

    def _check_open(self) -> None:
        if self._over:
            raise self._upload_error("the upload of {path!r} is over")

    def _check_final(self, path: str) -> None:
        if not self._storage.capabilities.late_name and path != self._path:
            raise self._upload_error("{final!r} is not {path!r}, with which the upload began", final=path)
        if split(path)[:-1] != split(self._path)[:-1]:
            raise self._upload_error("{final!r} is not in the folder of {path!r}", final=path)

    def _upload_error(self, template: str, **fields: Field) -> StorageError:
        """An error about this upload: `template` may also use `path`."""
        reason = Text(template, {"path": self._path, **fields})
        return StorageError("storage {storage!r}: {reason}", storage=self._storage.name, reason=reason)
