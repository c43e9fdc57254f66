"""Transfers one file from its source to its storage, completely or not at all.

`save` shows the whole procedure; each step has a function below it. In short:

    saved already? -> prepare -> reserve a path -> the first strategy that applies -> publish

Publishing survives a crash at any step. When the storage has all bytes, the final path is recorded, which
also proves that the claim is still ours. Then the storage makes the file visible in one atomic step, which
fails if the path is taken. The next claim asks the storage whether that step went through before it does
anything else (`workers/recovery.py`). The caller records the result, because the result of the last file is
written together with the end of the task (`workers/jobs.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from saveany.errors import Fenced, NameTaken, NoSpace, Permanent, Retryable, StorageError, StorageUnavailable
from saveany.logs import get_logger
from saveany.models import Checkpoint, Item, ItemStatus, OnConflict, OnDuplicate, Stage
from saveany.planning.plan import source_name, with_final_path
from saveany.telegram.reasons import FILE_PROTECTED
from saveany.texts import gettext_noop
from storages.base import NoReference, Range, Upload
from workers.albums import is_album_file
from workers.checkpoint import Checkpoints
from workers.conflicts import ConflictPolicy
from workers.part_writer import PartWriter
from workers.recovery import completed, saved_before
from workers.spool import Spool
from workers.transfer_context import TransferContext

#: Why a file is not sent by reference although it may be copied.
_REFUSED: Mapping[NoReference, str] = {
    "protected": FILE_PROTECTED,
    "impossible": gettext_noop(
        "This file cannot be sent without its bytes: the account that sends it does not see the message, the "
        "storage is not a chat, or the file is too large for it."
    ),
}

replace = msgspec.structs.replace
log = get_logger("saveany.transfer")


async def save(context: TransferContext, item: Item) -> Item:
    """The item, completed or skipped; or finishing, if it waits for the other files of its album.

    Raises what source and storage raise, and `Fenced` and `CancelRequested` from the store. After an error no
    incomplete file is visible, and a later call continues with the bytes that the storage has.
    """
    if receipt := await saved_before(context, item):
        return completed(item, receipt)
    file = FileTransfer(context, await _prepared(context, item))
    if same := await file.use_duplicate(file.item):
        await file.discard()
        return same
    while not await file.conflicts.skips(file.item):
        file.item = await file.conflicts.reserve(file.item)
        if file.item != context.records.items[item.index]:  # a small file is recorded as begun with the plan
            await context.records.put(file.item)
        try:
            saved = await file.save_by_first_strategy()
        except NameTaken as error:
            # Another file has taken the path, and this storage cannot rename the file that it has received.
            if context.on_conflict is OnConflict.OVERWRITE:
                raise Permanent("{path}: there is a folder with this name", path=file.item.path) from error
            continue
        if saved.status is ItemStatus.FINISHING:
            return saved
        await file.conflicts.release(saved)
        return saved
    await file.discard()
    return replace(file.item, status=ItemStatus.SKIPPED)


async def _prepared(context: TransferContext, item: Item) -> Item:
    """The item as its source describes it now. A new name or size may lead to another path or storage."""
    progress = context.meter.start(item.index)
    ready = await context.source.prepare(replace(item, name=source_name(item)), context.spec, progress.report)
    ready = replace(
        ready,
        status=ItemStatus.RUNNING,
        final="",
        sha256="",
        duplicate=None,
        error="",
        error_text=None,
        note=None,
    )
    ready = with_final_path(context.spec, item, ready)
    if (ready.storage, ready.path) == (item.storage, item.path):
        return ready
    if context.records.may_have_parts(item.index):
        await context.storage_of(item).discard(context.upload_key(item), item.path)
    return replace(ready, path=context.records.choose_path(ready))


class FileTransfer:
    """One attempt to save one prepared file."""

    def __init__(self, context: TransferContext, item: Item) -> None:
        self.context = context
        self.item = item
        self.storage = context.storage_of(item)
        self.conflicts = ConflictPolicy(context, self.storage)
        self.progress = context.meter.of(item.index)

    async def save_by_first_strategy(self) -> Item:
        """The item, saved by the first of `STRATEGIES` that applies to it."""
        self.context.records.begin(self.item.index)
        for strategy in STRATEGIES:
            if (saved := await strategy(self)) is not None:
                return saved
        raise AssertionError("streaming applies to every file")

    @asynccontextmanager
    async def upload(self, size: int | None, keep: Sequence[Range] = ()) -> AsyncIterator[Upload]:
        """An upload to the item's path, which continues with the bytes in `keep` if it can."""
        key = self.context.upload_key(self.item)
        async with await self.storage.begin(key, self.item.path, size, keep) as upload:
            try:
                yield upload
            except (Fenced, NameTaken):
                await upload.abort()  # it removes only this claim's bytes; another claim may have its own
                raise

    async def publish(self, item: Item, upload: Upload) -> Item:
        """Make an upload that has all bytes of the item visible; a file of an album waits for the others."""
        size = item.size or 0
        if is_album_file(self.storage, item):
            await upload.seal(size)
            return replace(item, status=ItemStatus.FINISHING, final=item.path)
        with self.context.slot.confirming():
            await upload.seal(size)
            await self.context.order.wait(item.index, self.storage)
            commit = partial(upload.commit, size=size)
            item = await self.conflicts.publish(item, ItemStatus.FINISHING, commit)
        self.context.order.leave(item.index)
        if item.status is ItemStatus.SKIPPED:
            await upload.abort()
        return item

    async def use_duplicate(self, item: Item) -> Item | None:
        """The item without a copy of its own, if the user has saved the same file before and the task asks
        for that: skipped, or completed with the copy of that file."""
        policy, find = self.context.spec.on_duplicate, self.context.claim.find_duplicate
        if policy is OnDuplicate.SAVE or (found := await find(item)) is None:
            return None
        if policy is OnDuplicate.SKIP:
            return replace(item, status=ItemStatus.SKIPPED, sha256="", duplicate=found)
        # From now on the copy is not removed; before, it may have been.
        await self.context.records.put(replace(item, duplicate=found))
        if await find(item) != found:
            await self.context.records.put(item)
            return None
        sha256 = item.sha256 or found.sha256
        return replace(item, status=ItemStatus.COMPLETED, size=found.size, sha256=sha256, duplicate=found)

    async def durable_ranges(self, item: Item) -> Sequence[Range]:
        """The bytes that an earlier attempt has stored of exactly this version of the file."""
        last = await self.context.records.last_checkpoint(item.index)
        if last is None or last.source != item.source or last.size != item.size:
            return ()
        return last.durable

    async def forget_durable_ranges(self, item: Item) -> None:
        """Record that the storage has nothing of the item: new bytes must not be taken for stored ones."""
        await self.context.records.checkpoint(
            item.index, Checkpoint(source=item.source, size=item.size or 0, durable=())
        )

    async def discard(self) -> None:
        """Remove what earlier attempts have left of the upload."""
        if self.context.records.may_have_parts(self.item.index):
            await self.storage.discard(self.context.upload_key(self.item), self.item.path)


async def move_in_one_step(file: FileTransfer) -> Item | None:
    """The item, renamed, if the task moves it within a storage that can rename, or between two folders of one
    disk."""
    before = file.context.place_before_move(file.item, file.storage)
    if not before or not file.storage.capabilities.late_name:  # without it a move copies and deletes
        return None
    item = replace(file.item, sha256=await file.context.source.sha256(file.item))
    if item.sha256 and (same := await file.use_duplicate(item)):
        return same
    try:
        # Recorded as running, not as finishing: a roll-back deletes finishing files, and this is the only
        # copy of the file.
        return await file.conflicts.publish(item, ItemStatus.RUNNING, partial(file.storage.take, *before))
    except (NameTaken, StorageUnavailable):
        raise
    except StorageError as error:  # for example between two disks below one folder
        log.info("move_failed", path=item.path, reason=error.message, next="copy")
        return None


async def copy_between_storages(file: FileTransfer) -> Item | None:
    """The item, if its file lies in a storage from which the target storage can copy by itself."""
    origin = file.context.source.origin(file.item)
    if origin is None or not file.storage.copies_from(origin[0]):
        return None

    async def copy(upload: Upload) -> None:
        await upload.copy(*origin, file.progress.add)

    return await _without_streaming(file, copy)


async def send_by_reference(file: FileTransfer) -> Item | None:
    """The item, sent by Telegram without its bytes, if it comes from a chat that may be copied and goes to
    another one. Raises `Permanent` if it must be sent in this way, but cannot."""
    copy, message = file.context.spec.params.get("copy"), file.context.source.message(file.item)
    if copy not in ("auto", "reference") or message is None:
        return None
    await file.forget_durable_ranges(file.item)
    key, item = file.context.upload_key(file.item), file.item
    caption = item.caption or item.text
    upload = await file.storage.refer(key, item.path, item.size or 0, message, caption)
    if not isinstance(upload, Upload):
        log.info("not_sent_by_reference", path=item.path, reason=upload)
        if copy == "reference":
            raise Permanent(_REFUSED[upload])
        return None
    async with upload:
        file.progress.set_stage(Stage.UPLOADING)
        return await file.publish(replace(item, sha256=""), upload)


async def fetch_by_service(file: FileTransfer) -> Item | None:
    """The item, if the storage's service can fetch the file from a public URL."""
    url = file.context.source.public_url(file.item)
    if not url or not file.storage.pulls:
        return None

    async def pull(upload: Upload) -> None:
        await upload.pull(url)
        file.progress.add(file.item.size or 0)

    return await _without_streaming(file, pull)


async def _without_streaming(file: FileTransfer, fill: Callable[[Upload], Awaitable[None]]) -> Item | None:
    """The item, after the storage has filled the upload by itself; None if that fails."""
    await file.forget_durable_ranges(file.item)
    async with file.upload(file.item.size) as upload:
        file.progress.set_stage(Stage.UPLOADING)
        try:
            await fill(upload)
            await upload.seal(file.item.size or 0)
        except NoSpace:
            raise
        except StorageError as error:
            log.info("server_side_copy_failed", path=file.item.path, reason=error.message, next="stream")
            await upload.abort()
            return None
        item = replace(file.item, sha256=await file.context.source.sha256(file.item))
        if item.sha256 and (same := await file.use_duplicate(item)):
            await upload.abort()
            return same
        return await file.publish(item, upload)


async def stream(file: FileTransfer) -> Item:
    """The item, its bytes fetched from the source by this worker and written to the storage."""
    item, source, progress = file.item, file.context.source, file.progress
    async with Spool(file.context.scratch, item, file.storage) as spool:
        if spool.needed:
            item = replace(item, size=await spool.fill(source, progress))
        keep = await file.durable_ranges(item)
        async with file.upload(item.size, keep) as upload:
            if keep and not upload.kept:
                await file.forget_durable_ranges(item)
            progress.set_stage(Stage.UPLOADING if progress.fetched else Stage.DOWNLOADING)
            checkpoints = Checkpoints(file.context.records, item, upload, file.storage)
            async with PartWriter(file.storage, upload, progress, checkpoints, source.read_ahead) as writer:
                fetch = spool.fetch if spool.needed else source.fetch
                await fetch(item, writer.write, upload.kept)
                digest = await writer.sha256()
            if item.size is not None and writer.size != item.size:
                raise Retryable(
                    "{name}: {received} of {size} bytes arrived",
                    name=item.name,
                    received=writer.size,
                    size=item.size,
                )
            progress.set_stage(Stage.VERIFYING)
            item = replace(item, size=writer.size, sha256=digest)
            if digest and (same := await file.use_duplicate(item)):
                await upload.abort()
                return same
            return await file.publish(item, upload)


Strategy = Callable[[FileTransfer], Awaitable[Item | None]]

#: The ways to save a file, cheapest first. One that does not apply, or that the storage turns out to be
#: unable to do, returns None, and the next one is tried.
STRATEGIES: tuple[Strategy, ...] = (
    move_in_one_step,
    copy_between_storages,
    send_by_reference,
    fetch_by_service,
    stream,
)
