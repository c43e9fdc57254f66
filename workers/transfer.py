"""THE transfer: one file from its source into its storage, whole or not at all.

    recover -> prepare -> place -> begin (or resume) -> fetch and hash -> seal -> name -> commit

Finishing survives a death at every step. The final path is recorded before the storage is asked for it, and
after the storage has all bytes: recording proves that the claim is still ours. The storage makes the file
visible in one atomic step that fails if the name is taken; the next claim looks, before anything else,
whether that step went through. The result is recorded by the caller (`workers/jobs.py`), the last one
together with the end of the task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from workers.sources.base import Source, Write
from workers.spool import Spool

Fetch = Callable[[Item, Write, Sequence[Range]], Awaitable[None]]

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Transfer:
    """Saves the items of one claimed task."""

    claim: Claim
    ledger: Ledger
    source: Source
    storage: Storage
    meter: Meter
    scratch: Path  # a folder of this machine for what must be spooled

    async def save(self, item: Item) -> Item:
        """The item, completed or skipped. Not yet recorded as such: that is the caller's.

        Raises what source and storage raise, and `Fenced` and `CancelRequested` from the store. Whatever it
        raises, nothing half is visible, and a later call starts from what is really there.
        """
        if item.status is ItemStatus.FINISHING and await self._finished(item):
            return replace(item, status=ItemStatus.COMPLETED)
        item = await self._prepared(item)
        while True:
            if await self._skips(item):
                await self.storage.discard(self._key(item), item.path)  # what a worker that died left of it
                return replace(item, status=ItemStatus.SKIPPED)
            item = await self._placed(item)
            await self.ledger.put(item)
            try:
                return await self._saved(item)
            except NameTaken as taken:
                # Somebody else was faster, and this storage cannot take another name for what it has.
                if self._policy is OnConflict.OVERWRITE:
                    raise Permanent(f"{item.path}: a folder of that name is in the way") from taken

    async def _prepared(self, item: Item) -> Item:
        """The item as the source sees it now, and under the name that goes with that."""
        self.meter.begin()
        ready = await self.source.prepare(item, self.claim.task.spec, self.meter.report)
        ready = replace(ready, status=ItemStatus.RUNNING, final="", sha256="", error="")
        if self.claim.task.spec.filename or ready.name == item.name:
            return replace(ready, name=item.name)
        await self.storage.discard(self._key(item), item.path)
        others = [each.path for each in self.ledger.items if each.index != item.index]
        return replace(ready, path=paths.distinct_from(others, paths.sibling(item.path, ready.name)))

    async def _placed(self, item: Item) -> Item:
        """The item at a path that no other task uses, where the storage itself could not tell in time."""
        if self._names_itself:
            return item
        while not await self._has_place(item):
            if self._policy is not OnConflict.RENAME:
                raise Retryable(f"{item.path}: another task is saving a file of that name", after=5)
            item = replace(item, path=await self._next_name(item))
        return item

    async def _has_place(self, item: Item) -> bool:
        if not await self.claim.reserve(item.index, item.path):
            return False
        return self._policy is not OnConflict.RENAME or await self.storage.stat(item.path) is None

    async def _saved(self, item: Item) -> Item:
        spool = self._spool(item)
        async with spool:
            if spool.needed:
                item = replace(item, size=await spool.fill(self.source, self.meter))
            keep = await self._durable(item)
            async with await self.storage.begin(self._key(item), item.path, item.size, keep) as upload:
                try:
                    if keep and not upload.kept:
                        await self._forget(item)
                    item = await self._fetch(item, upload, spool.fetch if spool.needed else self.source.fetch)
                    self.meter.stage = Stage.VERIFYING
                    item = await self._commit(item, upload)
                except (Fenced, NameTaken):
                    await upload.abort()  # removes only what is its own: whoever has the task now goes on
                    raise
        if not self._names_itself:
            await self.claim.vacate(item.index, item.path)
        return item

    @property
    def _names_itself(self) -> bool:
        """Whether the storage can find a free name at the end, and nobody else gets it."""
        return self.storage.capabilities.exclusive and self.storage.capabilities.late_name

    @property
    def _policy(self) -> OnConflict:
        return self.claim.task.spec.on_conflict

    def _spool(self, item: Item) -> Spool:
        needed = item.size is None and self.storage.capabilities.needs_size
        return Spool(self.scratch / f"{self.claim.task.id}-{item.index}", item, needed=needed)

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
        if self._policy is not OnConflict.SKIP:
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

    async def _fetch(self, item: Item, upload: Upload, fetch: Fetch) -> Item:
        self.meter.stage = Stage.UPLOADING if self.meter.fetched else Stage.DOWNLOADING
        checkpoints = Checkpoints(self.claim, item, upload, self.storage)
        async with Intake(self.storage, upload, self.meter, checkpoints) as intake:
            await fetch(item, intake.write, upload.kept)
            digest = await intake.sha256()
        if item.size is not None and intake.size != item.size:
            raise Retryable(f"{item.name}: {intake.size} of {item.size} bytes arrived")
        return replace(item, size=intake.size, sha256=digest)

    async def _commit(self, item: Item, upload: Upload) -> Item:
        size, final = item.size or 0, item.path
        await upload.seal(size)
        while True:
            item = replace(item, status=ItemStatus.FINISHING, final=final)
            await self.ledger.put(item)
            try:
                await upload.commit(final, size, replace=self._policy is OnConflict.OVERWRITE)
            except NameTaken:
                if self._policy is OnConflict.SKIP:
                    await upload.abort()
                    return replace(item, status=ItemStatus.SKIPPED, final="", sha256="")
                if self._policy is OnConflict.OVERWRITE or not self.storage.capabilities.late_name:
                    raise
                final = await self._next_name(item)
            else:
                return replace(item, status=ItemStatus.COMPLETED)

    async def _next_name(self, item: Item) -> str:
        first = paths.sibling(item.path, item.name)
        return paths.sibling(first, numbered(item.name, await self.claim.next_suffix(first)))
