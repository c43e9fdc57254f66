"""Opens the file behind a link: the copy in its storage, or the message in Telegram that it came from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from saveany.catalogue.link_models import Link, LinkedFile, TelegramMedia, media_of
from saveany.delivery.content import Content, StoredContent, TelegramContent
from saveany.delivery.errors import FileNotFound, StorageElsewhere
from saveany.delivery.peers import Peers
from saveany.delivery.telegram import TelegramFiles
from saveany.errors import (
    NeedsLogin,
    NotFound,
    SaveAnyError,
    StorageError,
    StorageUnavailable,
    TaskError,
    Unavailable,
)
from saveany.logs import get_logger
from saveany.storage_set import StorageHandle, StorageSet
from storages.base import Reader

log = get_logger("saveany.delivery")


class ContentOpener:
    """Opens files with the storages and the Telegram accounts of this process."""

    def __init__(self, storages: StorageSet, telegram: TelegramFiles, peers: Peers) -> None:
        self._storages = storages
        self._telegram = telegram
        #: Called with the id of a file whose copy turns out to be missing (true), or to be there again.
        self.on_copy: Callable[[str, bool], Awaitable[None]] | None = None
        self.peers = peers

    async def warm_up(self) -> None:
        """Get ready for files in Telegram."""
        await self._telegram.warm_up()

    def storages_changed(self) -> None:
        """Open the storages that are configured now."""
        self._storages.update()

    async def close(self) -> None:
        """Close all connections."""
        await self.peers.close()
        await self._storages.close()
        await self._telegram.close()

    async def open(self, link: Link) -> Content:
        """The file of a link that leads to one. Raises as `open_file`."""
        if link.file is not None:
            return await self.open_file(link.file)
        if link.media is not None:
            return await self.open_media(link.media, link.name)
        raise FileNotFound

    async def open_file(self, file: LinkedFile, *, here: bool = False) -> Content:
        """A saved file. A copy on a disk of another machine is read through an API process there, unless
        `here` is set. One that is gone or has changed is not served: then it is read from Telegram, if it
        came from there.

        Raises `NotFound` if there is neither, `Unavailable` if it cannot be read at the moment.
        """
        try:
            content = await self._open_copy(file, here)
        except StorageElsewhere as failure:
            if not here and (found := await self.peers.file(file)):
                return found
            return await self._instead(file, failure if here else await self.peers.whereabouts(file.storage))
        except StorageError as error:
            await self._note_missing(file)
            return await self._instead(file, error)
        if file.missing_at is not None:
            await self._note(file, missing=False)
        return content

    async def open_media(self, media: TelegramMedia, name: str, *, here: bool = False) -> Content:
        """A file in a Telegram message. If no login of this machine can read it, it is read through an API
        process of another machine, unless `here` is set. Raises as `open_file`."""
        try:
            found = await self._telegram.find(media.source)
        except TaskError as error:
            if not here and (content := await self.peers.media(media, name)):
                return content
            raise _unreachable(error) from error
        return TelegramContent(self._telegram.read, [found], name)

    async def message(self, url: str, only: Sequence[str]) -> TelegramMedia:
        """See `LinkDelivery.message`."""
        try:
            found = await self._telegram.resolve(url, only)
        except TaskError as error:
            if error.retryable or isinstance(error, NeedsLogin):
                raise Unavailable(error.text) from error
            raise NotFound(error.text) from error
        return media_of(found)

    async def _note_missing(self, file: LinkedFile) -> None:
        """Record that the copy was deleted or changed, if that is certain."""
        handle = self._storages.get(file.storage)
        if file.missing_at is not None or handle is None or not handle.storage.capabilities.reads:
            return
        local = handle.storage.capabilities.this_machine_only
        with suppress(StorageError):
            if local and not await handle.was_just_present():
                return
            if await handle.storage.size(file.path) != file.size:
                await self._note(file, missing=True)

    async def _note(self, file: LinkedFile, *, missing: bool) -> None:
        log.info("copy_missing" if missing else "copy_back", file=file.id, storage=file.storage)
        if self.on_copy:
            with suppress(Unavailable):  # the next reader finds out
                await self.on_copy(file.id, missing)

    async def _instead(self, file: LinkedFile, error: StorageError) -> Content:
        """A file whose copy cannot be read, from Telegram. Raises an error about the copy."""
        if file.origin is None:
            raise _unreadable(file, error) from error
        log.info("copy_unreadable", file=file.id, reason=error.message)
        return await self._open_origin(file, file.origin, error)

    async def _open_copy(self, file: LinkedFile, here: bool) -> Content:
        if file.reference:
            return await self._open_messages(file, file.reference.get("files", ()), here)
        handle = self._storages.get(file.storage)
        reader = await self._open_path(file, handle)
        # A copy that was written to later may have other bytes of the same number.
        sha256 = file.sha256 if reader.modified_at <= file.added_at else ""
        presigned = handle and handle.storage.capabilities.presigned
        presign = partial(handle.storage.url, file.path) if handle and presigned else None
        return StoredContent(reader, file.name, file.mime, sha256, presign)

    async def _open_messages(
        self, file: LinkedFile, sources: Sequence[Mapping[str, Any]], here: bool
    ) -> Content:
        """A file that a storage has sent to a chat, in one message or several."""
        try:
            found = [await self._telegram.find(source) for source in sources]
        except TaskError as error:
            if not here and (content := await self.peers.file(file)):
                return content
            may_work_later = error.retryable or isinstance(error, NeedsLogin)
            raise (StorageUnavailable if may_work_later else StorageError)(error.text) from error
        if not found or sum(each.size for each in found) != file.size:
            raise StorageError("the messages of {path!r} are not complete", path=file.path)
        return TelegramContent(self._telegram.read, found, file.name, file.mime, file.sha256)

    async def _open_path(self, file: LinkedFile, handle: StorageHandle | None) -> Reader:
        if handle is None:
            raise StorageElsewhere("there is no storage {storage!r} here", storage=file.storage)
        if not handle.storage.capabilities.reads:
            raise StorageError("storage {storage!r} cannot be read", storage=file.storage)
        if handle.storage.capabilities.this_machine_only and not await handle.was_just_present():
            raise StorageElsewhere(handle.problem or "the storage cannot be reached")
        reader = await handle.storage.open(file.path)
        if reader.size != file.size:
            await reader.close()
            raise StorageError(
                "storage {storage!r}: {path!r} has changed", storage=file.storage, path=file.path
            )
        return reader

    async def _open_origin(self, file: LinkedFile, origin: Mapping[str, Any], copy: StorageError) -> Content:
        try:
            media = await self._telegram.find(origin)
        except TaskError as error:
            raise _unreadable(file, copy, error) from error
        if media.size != file.size:
            raise _unreadable(file, copy)
        return TelegramContent(self._telegram.read, [media], file.name, file.mime, file.sha256)


def _unreadable(file: LinkedFile, copy: StorageError, origin: TaskError | None = None) -> SaveAnyError:
    """The error for a file of which neither the copy nor the origin can be read."""
    if isinstance(copy, StorageUnavailable):
        return Unavailable(
            "{name!r} cannot be read at the moment: {reason}", name=file.name, reason=copy.text
        )
    if origin is not None and origin.retryable:
        return Unavailable("{name!r} cannot be read at the moment; try again later", name=file.name)
    return FileNotFound("{name!r} does not exist any more", name=file.name)


def _unreachable(error: TaskError) -> SaveAnyError:
    if error.retryable:
        return Unavailable("Telegram cannot be reached at the moment; try again later")
    return FileNotFound("the message does not exist any more, or has another file")
