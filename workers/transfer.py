"""THE transfer: one file from its source into its storage, whole or not at all.

    recover -> prepare -> place -> begin (or resume) -> fetch and hash -> seal -> name -> commit

A file of an album, in a storage that shows albums, is held before its name, until `gather` names and commits
all of them together.

Finishing survives a death at every step. The final path is recorded before the storage is asked for it, and
after the storage has all bytes: recording proves that the claim is still ours. The storage makes the file
visible in one atomic step that fails if the name is taken; the next claim looks, before anything else,
whether that step went through. The result is recorded by the caller (`workers/jobs.py`), the last one
together with the end of the task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from saveany.errors import (
    Fenced,
    NameTaken,
    NoSpace,
    Permanent,
    Retryable,
    StorageError,
    StorageUnavailable,
)
from saveany.logs import get_logger
from saveany.models import Checkpoint, Item, ItemStatus, OnConflict, Stage
from saveany.planning import paths
from saveany.planning.names import numbered
from saveany.planning.plan import found_name, settled
from saveany.store import Claim
from storages.base import AlbumFile, Range, Storage, Upload, UploadKey
from workers.checkpoint import Checkpoints
from workers.item_records import ItemRecords
from workers.part_writer import PartWriter
from workers.progress import ProgressMeter
from workers.sources.base import Source, Write
from workers.spool import Spool

Fetch = Callable[[Item, Write, Sequence[Range]], Awaitable[None]]

replace = msgspec.structs.replace
log = get_logger("saveany.transfer")


def gathers(storage: Storage, item: Item) -> bool:
    """Whether the item waits for the others of its album in that storage."""
    return bool(item.album) and storage.capabilities.albums


@dataclass(frozen=True, slots=True)
class Transfer:
    """Saves items of one claimed task in the storage where they are to go."""

    claim: Claim
    ledger: ItemRecords
    source: Source
    storage: Storage
    storage_of: Callable[[Item], Storage]
    meter: ProgressMeter
    scratch: Path  # a folder of this machine for what must be spooled

    async def save(self, item: Item) -> Item:
        """The item, completed or skipped, or finishing if it is held for `gather`. Not yet recorded as such:
        that is the caller's.

        Raises what source and storage raise, and `Fenced` and `CancelRequested` from the store. Whatever it
        raises, nothing half is visible, and a later call starts from what is really there.
        """
        if await self._is_done(item):
            return await self._shown(replace(item, status=ItemStatus.COMPLETED))
        item = await self._prepared(item)
        there = dataclasses.replace(self, storage=self.storage_of(item))
        return await there._shown(await there._save(item))

    async def gather(self, items: Sequence[Item]) -> list[Item]:
        """Items of an album that `save` held, or that a worker died at, completed; not yet recorded as such.
        None of them if one is not there any more: then each must be saved again. Raises as `save`."""
        await self.ledger.put(*items)
        if not await self.storage.gather([self._member(item) for item in items]):
            await self.ledger.put(*(replace(item, status=ItemStatus.RUNNING, final="") for item in items))
            return []
        for item in items:
            await self.claim.vacate(item.index, self.storage.name, item.path)
        return [await self._shown(replace(item, status=ItemStatus.COMPLETED)) for item in items]

    async def _shown(self, item: Item) -> Item:
        """With the file's page, where it has one. It is saved, whether that can be told or not."""
        if item.status is not ItemStatus.COMPLETED:
            return item
        try:
            return replace(item, url=await self.storage.page(item.final))
        except StorageError as error:
            log.info("cannot tell where the file is shown", path=item.final, reason=error.message)
            return item

    async def _save(self, item: Item) -> Item:
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
        """The item as the source sees it now, and where it goes as such."""
        self.meter.begin(item.index)
        spec = self.claim.task.spec
        ready = await self.source.prepare(replace(item, name=found_name(item)), spec, self.meter.report)
        ready = replace(ready, status=ItemStatus.RUNNING, final="", sha256="", error="", error_text=None)
        ready = settled(spec, item, ready)
        if (ready.storage, ready.path) == (item.storage, item.path):
            return ready
        await self.storage.discard(self._key(item), item.path)
        others = [
            each.path
            for each in self.ledger.items
            if each.index != item.index and each.storage == ready.storage
        ]
        return replace(ready, path=paths.distinct_from(others, ready.path))

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
        if not await self.claim.reserve(item.index, self.storage.name, item.path):
            return False
        return self._policy is not OnConflict.RENAME or await self.storage.stat(item.path) is None

    async def _saved(self, item: Item) -> Item:
        saved = await self._renamed(item) or await self._by_itself(item) or await self._fetched(item)
        if saved.status is not ItemStatus.FINISHING and not self._names_itself:
            await self.claim.vacate(item.index, self.storage.name, item.path)
        return saved

    async def _renamed(self, item: Item) -> Item | None:
        """The item, if its file was moved here within this storage."""
        can, where = self.storage.capabilities, self._own(item)
        if not where or not can.moves or not can.late_name:  # without, a move is a copy and a deletion
            return None
        try:
            # Not as `finishing`: what is undone of that is deleted, and there is no other copy of this file.
            return await self._named(item, ItemStatus.RUNNING, partial(self.storage.move, where))
        except (NameTaken, StorageUnavailable):
            raise
        except StorageError as error:  # as between two disks below one folder
            log.info("copying what the storage cannot move", path=item.path, reason=error.message)
            return None

    async def _by_itself(self, item: Item) -> Item | None:
        """The item, if its file lies where the storage can reach it, and it has got it from there."""
        origin, address = self.source.origin(item), self.source.address(item)
        copies = origin is not None and self.storage.copies_from(origin[0])
        if not copies and not (address and self.storage.pulls):
            return None
        await self._forget(item)
        async with self._upload(item) as upload:
            self.meter.stage = Stage.UPLOADING
            try:
                if origin and copies:
                    await upload.copy(*origin, self.meter.add)
                else:
                    await upload.pull(address)
                    self.meter.add(item.size or 0)
                await upload.seal(item.size or 0)
            except NoSpace:
                raise
            except StorageError as error:
                log.info("fetching what the storage cannot get itself", path=item.path, reason=error.message)
                await upload.abort()
                return None
            return await self._commit(item, upload)

    async def _fetched(self, item: Item) -> Item:
        spool = self._spool(item)
        async with spool:
            if spool.needed:
                item = replace(item, size=await spool.fill(self.source, self.meter))
            keep = await self._durable(item)
            async with self._upload(item, keep) as upload:
                if keep and not upload.kept:
                    await self._forget(item)
                item = await self._fetch(item, upload, spool.fetch if spool.needed else self.source.fetch)
                self.meter.stage = Stage.VERIFYING
                return await self._commit(item, upload)

    @asynccontextmanager
    async def _upload(self, item: Item, keep: Sequence[Range] = ()) -> AsyncIterator[Upload]:
        async with await self.storage.begin(self._key(item), item.path, item.size, keep) as upload:
            try:
                yield upload
            except (Fenced, NameTaken):
                await upload.abort()  # removes only what is its own: whoever has the task now goes on
                raise

    @property
    def _names_itself(self) -> bool:
        """Whether the storage can find a free name at the end, and nobody else gets it."""
        return self.storage.capabilities.exclusive and self.storage.capabilities.late_name

    @property
    def _policy(self) -> OnConflict:
        return self.claim.task.spec.on_conflict

    def _spool(self, item: Item) -> Spool:
        needed = item.size is None and self.storage.capabilities.needs_size
        return Spool(self.scratch, item, needed=needed)

    async def undo(self, item: Item, *, keep: bool = False) -> None:
        """Remove what there is of an item that is not completed; but `keep` what turns out to be saved, and
        record it as completed."""
        if await self._was_renamed(item):
            await self.ledger.reset(replace(item, status=ItemStatus.COMPLETED))
            return
        if item.status is ItemStatus.FINISHING and await self._finished(item):
            if keep:
                await self.ledger.reset(await self._shown(replace(item, status=ItemStatus.COMPLETED)))
                return
            await self.storage.delete(item.final)
            item = replace(item, undone=item.undone + 1)
        # The record goes first: it must never name a file of somebody else as ours.
        await self.ledger.reset(replace(item, status=ItemStatus.QUEUED, final="", sha256=""))
        await self.storage.discard(self._key(item), item.path)

    def _key(self, item: Item) -> UploadKey:
        return UploadKey(self.claim.task.id, item.index, self.claim.task.epoch, item.undone)

    async def _is_done(self, item: Item) -> bool:
        """Whether an earlier try came to the end."""
        if item.status is ItemStatus.FINISHING:
            return await self._finished(item)
        return await self._was_renamed(item)

    async def _was_renamed(self, item: Item) -> bool:
        """Whether an earlier try has moved the file, within this storage."""
        if not item.final or item.status is ItemStatus.FINISHING or not (where := self._own(item)):
            return False
        return await self.storage.stat(where) is None and await self.storage.size(item.final) == item.size

    def _own(self, item: Item) -> str:
        """Where in this very storage the file lies that is to be moved; "" if it is not such a one."""
        if not self.source.moves(self.claim.task.spec):
            return ""
        origin = self.source.origin(item)
        return origin[1] if origin and origin[0] is self.storage else ""

    def _member(self, item: Item) -> AlbumFile:
        return AlbumFile(self._key(item), item.final, item.size or 0, item.caption)

    async def _finished(self, item: Item) -> bool:
        if gathers(self.storage, item):
            return await self.storage.gather([self._member(item)])
        return await self.storage.finished(self._key(item), item.path, item.final, item.size or 0)

    async def _skips(self, item: Item) -> bool:
        if self._own(item) == item.path:
            return True
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
        async with PartWriter(self.storage, upload, self.meter, checkpoints, self.source.ahead) as intake:
            await fetch(item, intake.write, upload.kept)
            digest = await intake.sha256()
        if item.size is not None and intake.size != item.size:
            raise Retryable(f"{item.name}: {intake.size} of {item.size} bytes arrived")
        return replace(item, size=intake.size, sha256=digest)

    async def _commit(self, item: Item, upload: Upload) -> Item:
        size = item.size or 0
        await upload.seal(size)
        if gathers(self.storage, item):
            self.meter.hold(item.index)
            return replace(item, status=ItemStatus.FINISHING, final=item.path)
        item = await self._named(item, ItemStatus.FINISHING, partial(upload.commit, size=size))
        if item.status is ItemStatus.SKIPPED:
            await upload.abort()
        return item

    async def _named(self, item: Item, status: ItemStatus, give: Callable[..., Awaitable[None]]) -> Item:
        """Have `give(final, replace=…)` make the file visible, under a name that is recorded before."""
        final = item.path
        while True:
            item = replace(item, status=status, final=final)
            await self.ledger.put(item)
            try:
                await give(final, replace=self._policy is OnConflict.OVERWRITE)
            except NameTaken:
                if self._policy is OnConflict.SKIP:
                    return replace(item, status=ItemStatus.SKIPPED, final="", sha256="")
                if self._policy is OnConflict.OVERWRITE or not self.storage.capabilities.late_name:
                    raise
                final = await self._next_name(item)
            else:
                return replace(item, status=ItemStatus.COMPLETED)

    async def _next_name(self, item: Item) -> str:
        first = paths.sibling(item.path, item.name)
        number = await self.claim.next_suffix(self.storage.name, first)
        return paths.sibling(first, numbered(item.name, number))
