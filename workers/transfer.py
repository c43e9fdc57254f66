"""THE transfer: one file from its source into its storage, whole or not at all.

    recover -> begin (or resume) -> fetch and hash -> name -> commit

Finishing survives a death at every step. The final path is recorded before the storage is asked for it;
the storage makes the file visible in one atomic step that fails if the name is taken; the next claim looks,
before anything else, whether that step went through. The result is recorded by the caller
(`workers/jobs.py`), the last one together with the end of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from saveany.errors import Fenced, NameTaken, Permanent, Retryable
from saveany.models import Checkpoint, Item, ItemStatus, OnConflict, Stage
from saveany.planning import paths
from saveany.planning.names import numbered
from saveany.store import Claim
from storages.base import Range, Storage, Upload, UploadKey
from workers.checkpoint import Checkpoints
from workers.intake import Intake
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
            await self.storage.discard(self._key(item), item.path)  # what a worker that died left of it
            return replace(item, status=ItemStatus.SKIPPED)
        item = replace(item, status=ItemStatus.RUNNING, final="", sha256="", error="")
        await self.ledger.put(item)
        keep = await self._durable(item)
        async with await self.storage.begin(self._key(item), item.path, item.size, keep) as upload:
            try:
                if keep and not upload.kept:
                    await self._forget(item)
                item = await self._fetch(item, upload)
                self.meter.stage = Stage.VERIFYING
                return await self._commit(item, upload)
            except Fenced:
                await upload.abort()  # removes only what is its own: whoever has the task now goes on
                raise

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

    async def _durable(self, item: Item) -> Sequence[Range]:
        """The bytes that an earlier try has saved of this very file."""
        last = await self.claim.last_checkpoint(item.index)
        same = last is not None and last.source == item.source and last.size == item.size
        return last.durable if last is not None and same else ()

    async def _forget(self, item: Item) -> None:
        """What was durable is gone: the bytes that come now must not be taken for it."""
        nothing = Checkpoint(source=item.source, size=item.size or 0, durable=())
        await self.claim.checkpoint(item.index, nothing)

    async def _fetch(self, item: Item, upload: Upload) -> Item:
        self.meter.stage = Stage.DOWNLOADING
        intake = Intake(upload, self.meter, Checkpoints(self.claim, item, upload, self.storage))
        await self.source.fetch(item, intake.write, upload.kept)
        digest = await intake.sha256()
        if item.size is not None and intake.size != item.size:
            raise Retryable(f"{item.name}: {intake.size} of {item.size} bytes arrived")
        return replace(item, size=intake.size, sha256=digest)

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
