"""THE transfer: one file from its source into its storage, whole or not at all.

    recover -> begin -> fetch and hash -> name -> commit

Finishing survives a death at every step. The final path is recorded before the storage is asked for it;
the storage makes the file visible in one atomic step that fails if the name is taken; the next claim looks,
before anything else, whether that step went through. The result is recorded by the caller
(`workers/jobs.py`), the last one together with the end of the task.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from saveany.errors import NameTaken, Permanent, Retryable
from saveany.models import Item, ItemStatus, OnConflict, Stage
from saveany.planning import paths
from saveany.planning.names import numbered
from saveany.store import Claim
from storages.base import Storage, Upload, UploadKey
from workers.ledger import Ledger
from workers.meter import Meter
from workers.sources.base import Source

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Transfer:
    """Saves the items of one claimed task."""

    claim: Claim
    ledger: Ledger
    source: Source
    storage: Storage
    meter: Meter

    async def save(self, item: Item) -> Item:
        """The item, completed or skipped. Not yet recorded as such: that is the caller's.

        Raises what source and storage raise, and `Fenced` and `CancelRequested` from the store. Whatever it
        raises, nothing half is visible, and a later call starts from what is really there.
        """
        if item.status is ItemStatus.FINISHING:
            if await self._finished(item):
                return replace(item, status=ItemStatus.COMPLETED)
        elif await self._skips(item):
            return replace(item, status=ItemStatus.SKIPPED)
        item = replace(item, status=ItemStatus.RUNNING, final="", sha256="", error="")
        await self.ledger.put(item)
        self.meter.restart()
        async with await self.storage.begin(self._key(item), item.path, item.size) as upload:
            item = await self._fetch(item, upload)
            self.meter.stage = Stage.VERIFYING
            return await self._commit(item, upload)

    async def undo(self, item: Item) -> None:
        """Remove what there is of an item that is not completed."""
        if item.status is ItemStatus.FINISHING and await self._finished(item):
            await self.storage.delete(item.final)
        # The record goes first: it must never name a file of somebody else as ours.
        await self.ledger.reset(replace(item, status=ItemStatus.QUEUED, final="", sha256=""))
        await self.storage.discard(self._key(item), item.path)

    def _key(self, item: Item) -> UploadKey:
        return UploadKey(self.claim.task.id, item.index, self.claim.task.epoch)

    async def _finished(self, item: Item) -> bool:
        return await self.storage.finished(self._key(item), item.path, item.final, item.size or 0)

    async def _skips(self, item: Item) -> bool:
        if self.claim.task.spec.on_conflict is not OnConflict.SKIP:
            return False
        return await self.storage.size(item.path) is not None

    async def _fetch(self, item: Item, upload: Upload) -> Item:
        self.meter.stage = Stage.DOWNLOADING
        intake = Intake(upload, self.meter)
        await self.source.fetch(item, intake.write)
        if item.size is not None and intake.size != item.size:
            raise Retryable(f"{item.name}: {intake.size} of {item.size} bytes arrived")
        return replace(item, size=intake.size, sha256=intake.sha256())

    async def _commit(self, item: Item, upload: Upload) -> Item:
        policy = self.claim.task.spec.on_conflict
        final = item.path
        while True:
            item = replace(item, status=ItemStatus.FINISHING, final=final)
            await self.ledger.put(item)
            try:
                await upload.commit(final, item.size or 0, replace=policy is OnConflict.OVERWRITE)
            except NameTaken:
                if policy is OnConflict.SKIP:
                    await upload.abort()
                    return replace(item, status=ItemStatus.SKIPPED, final="", sha256="")
                if policy is OnConflict.OVERWRITE:
                    raise Permanent(f"{final}: a folder of that name is in the way") from None
                final = await self._next_name(item.path)
            else:
                return replace(item, status=ItemStatus.COMPLETED)

    async def _next_name(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        suffix = await self.claim.next_suffix(path)
        return paths.join(folder, numbered(name, suffix))


class Intake:
    """Takes the parts of a file as they come, writes them, and hashes them in order."""

    def __init__(self, upload: Upload, meter: Meter) -> None:
        self._upload = upload
        self._meter = meter
        self._hash = hashlib.sha256()
        self._hashed = 0  # the hash covers the file up to here …
        self._ahead: dict[int, int] = {}  # … and these parts (offset: size) are written but not hashed yet
        self._busy = False  # somebody is reading back such parts
        self.size = 0

    async def write(self, offset: int, data: bytes) -> None:
        """Put a part where it belongs."""
        await self._upload.write(offset, data)
        self.size += len(data)
        self._meter.add(len(data))
        if offset == self._hashed and not self._busy:
            self._hash.update(data)
            self._hashed += len(data)
        else:
            self._ahead[offset] = len(data)
        if not self._busy:
            await self._catch_up()

    def sha256(self) -> str:
        """Hex digest of the whole file. Raises `Permanent` if a part is missing: that is never a success."""
        if self._ahead or self._hashed != self.size:
            raise Permanent(f"the file has a hole at byte {self._hashed}")
        return self._hash.hexdigest()

    async def _catch_up(self) -> None:
        # Parts that came early are read back: from the page cache, while holding them would cost memory.
        self._busy = True
        try:
            while (size := self._ahead.pop(self._hashed, None)) is not None:
                data = await self._upload.read(self._hashed, size)
                self._hash.update(data)
                self._hashed += size
        finally:
            self._busy = False
