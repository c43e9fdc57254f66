"""Delivers the files behind links: checks the link and the limits, opens the file, counts what is sent."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Never

from msgspec.structs import replace

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.link_models import FolderFiles, Link, State, TelegramMedia
from saveany.catalogue.links import MAX_FILES, Links
from saveany.config import Config
from saveany.delivery.archive import Member, ZipContent
from saveany.delivery.content import Content
from saveany.delivery.errors import FileNotFound
from saveany.delivery.frames import FrameMaker
from saveany.delivery.limits import DeliveryLimits
from saveany.delivery.opener import ContentOpener
from saveany.delivery.passwords import Passwords
from saveany.delivery.peers import ANNOUNCE_SECONDS, Peers
from saveany.delivery.telegram import TelegramFiles
from saveany.delivery.thumbnails import Thumbnails
from saveany.delivery.usage import LinkUsage
from saveany.errors import Gone, SaveAnyError, Unavailable, WrongState
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.storage_set import StorageSet
from saveany.store import Store
from saveany.store.openings import Opening
from saveany.texts import gettext_noop

#: Seconds for which a link that was read is not read again; also while the catalogue is down.
_FRESH, _OUTAGE = 2.0, 60.0
#: Milliseconds for which a link that was opened lets the API get ready for files in Telegram when it starts.
_LATELY_MS: Final = 24 * 3600 * 1000
#: Seconds between two writes of the numbers of bytes sent.
_COUNT_SECONDS: Final = 5.0
_MAX_KNOWN: Final = 10_000

_WHY: Final = {
    State.EXPIRED: gettext_noop("this link has expired"),
    State.REVOKED: gettext_noop("this link was revoked"),
    State.USED_UP: gettext_noop("this link was downloaded as often as it may be"),
    State.GONE: gettext_noop("the file of this link was deleted"),
}


log = get_logger("saveany.delivery")


class LinkDelivery:
    """The files behind links, for the API process."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        opener: ContentOpener,
        limits: DeliveryLimits,
        thumbnails: Thumbnails,
    ) -> None:
        self._links = catalogue.links
        self._usage = LinkUsage(catalogue.links, store)
        self.limits = limits
        self.thumbnails = thumbnails
        self._store = store
        self._openings = store.openings
        self._opener = opener
        self._files = catalogue.files
        opener.on_copy = self._note_copy
        self.peers = opener.peers
        self._known: dict[str, tuple[float, Link | None]] = {}  # by token: when it was read, monotonic
        self._changes = -1  # number of changes of links that this process knows of
        self.passwords = Passwords(store)

    @classmethod
    def of(cls, config: Config, store: Store, catalogue: Catalogue, telegram: TelegramFiles) -> LinkDelivery:
        """With the storages and accounts that are configured. Nothing is connected yet; `telegram` is closed
        in the end."""
        storages = StorageSet.open(config, config.services, store)
        peers = Peers(store, storages, config.api.internal_url)
        opener = ContentOpener(storages, telegram, peers)
        folder = config.data_dir / "thumbnails"
        thumbnails = Thumbnails(folder, telegram, opener, FrameMaker(config.links.ffmpeg))
        return cls(catalogue, store, opener, DeliveryLimits(store, config.links), thumbnails)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write the numbers of bytes sent, and let other processes know of this one, until the block ends;
        then close all files."""
        loops: list[Coroutine[Any, Any, None]] = [
            repeat("bytes_sent", self._usage.write, _COUNT_SECONDS),
            _warm_up(self._store, self._links, self._opener),
        ]
        if self.peers.is_announced:
            loops.append(repeat("announce", self.peers.announce, ANNOUNCE_SECONDS))
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with suppress(Unavailable):
                await self._usage.write()
            await self.thumbnails.close()
            await self._opener.close()

    def storages_changed(self) -> None:
        """Open the storages that are configured now."""
        self._opener.storages_changed()

    async def link(self, token: str, address: str) -> Link:
        """A link that works, or that the address has open. Raises `NotFound`, `Gone`, or `TooMany` for an
        address that tries tokens."""
        self.limits.check_address(address)
        link = await self._read(token)
        if link is None:
            raise await self.limits.refuse_unknown(address)
        if link.state is State.ACTIVE:
            return link
        if link.state is State.USED_UP and await self._openings.is_open(token, address):
            return link
        raise Gone(_WHY[link.state])

    async def open(self, link: Link, address: str) -> tuple[Content, Opening]:
        """Open the file of a link and count the opening. Raises `TooMany`, `Gone`, `Unavailable`, and the
        errors of `ContentOpener`."""
        limited = link.max_downloads is not None
        opening = await self.limits.open(link.token, address, counted=limited)
        if not opening.is_new:
            await self._check_again(link, address, opening)
            return await self.look(link), opening
        async with AsyncExitStack() as undo:
            undo.push_async_callback(_take_back, self.limits, link.token, address)
            await self._check_again(link, address, opening)
            content = await self.look(link)
            undo.push_async_callback(content.close)
            if not await self._usage.opened(link.token, limited=limited):
                raise Gone(_WHY[State.USED_UP])
            if limited:
                self._known.pop(link.token, None)
                await self.limits.confirm(link.token, address)
            undo.pop_all()
        return content, opening

    async def _check_again(self, link: Link, address: str, opening: Opening) -> None:
        """Raise `Gone` or `NotFound` if the link does not work any more. It is read again only if something
        was changed since this process knows it, which Redis says with each opening."""
        if opening.changes not in (self._changes, -1):
            self._known = {known: (at - _FRESH, found) for known, (at, found) in self._known.items()}
            self._changes = opening.changes
            await self.link(link.token, address)

    async def look(self, link: Link) -> Content:
        """The file of a link, without counting anything. Raises as `ContentOpener`."""
        if link.folder_id is not None:
            return await self._folder(link, link.folder_id)
        return await self._opener.open(link)

    async def message(self, url: str, only: Sequence[str] = ()) -> TelegramMedia:
        """The file of a message in Telegram that was not saved. `only` are the accounts that may read it; if
        empty, all. Raises `InvalidInput`, `NotFound` and `Unavailable`, each with the reason."""
        return await self._opener.message(url, only)

    async def file_here(self, file_id: str) -> Content:
        """A saved file, for an API process on another machine. Raises as `ContentOpener.open_file`."""
        file = await self._links.file_of(file_id)
        if file is None:
            raise FileNotFound
        return await self._opener.open_file(file, here=True)

    async def media_here(self, source: Mapping[str, Any]) -> Content:
        """The same for a file in a Telegram message."""
        return await self._opener.open_media(TelegramMedia(dict(source), 0, "", ""), "file", here=True)

    async def saved(self, file_id: str) -> Link:
        """A saved file, as if it had a link. Raises `FileNotFound`."""
        file = await self._links.file_of(file_id)
        if file is None:
            raise FileNotFound
        return Link("", file.user_id, file.name, file.added_at, State.ACTIVE, file)

    async def member(self, link: Link, file_id: str) -> Link:
        """The link as one to a file in its folder. Raises `FileNotFound`."""
        file = await self._links.file_in(link.folder_id, file_id) if link.folder_id else None
        if file is None:
            raise FileNotFound
        return replace(link, file=file, folder_id=None, name=file.name)

    async def members(self, link: Link) -> FolderFiles:
        """The files in the folder of a link, with their paths; none for other links."""
        return await self._links.files_in(link.folder_id) if link.folder_id else FolderFiles([], True)

    async def _folder(self, link: Link, folder_id: int) -> Content:
        """The folder as a zip. Raises `WrongState` for one that is too large: what is in a zip must be all
        that is in the folder."""
        found = await self._links.files_in(folder_id)
        if not found.is_complete:
            raise WrongState(
                "this folder has more than {limit} files; download smaller folders in it", limit=MAX_FILES
            )
        members = [
            Member(path, file.size, partial(self._opener.open_file, file), file.sha256 or file.id)
            for path, file in found.files
        ]
        return ZipContent(f"{link.name}.zip", members)

    def sent(self, token: str, address: str, size: int, whole: int) -> None:
        """Count bytes that were sent to an address, of a file of `whole` bytes. Without a link `token` is
        ""."""
        self._usage.sent(token, address, size, whole)

    async def until_stopped(self, token: str, address: str) -> Never:
        """Wait until the link may not be used any more; raises `Gone` then. Until then the address has it
        open. An outage of Redis or of the catalogue ends no stream."""
        while True:
            await asyncio.sleep(_FRESH)
            await self.limits.keep_open(token, address)
            try:
                link = await self._read(token)
            except Unavailable:
                continue
            if link is None or link.state in (State.REVOKED, State.GONE):
                raise Gone(_WHY[State.REVOKED])

    def forget(self, file_id: str) -> None:
        """A file was deleted or restored: read its links again before they are used."""
        for token, (_, link) in list(self._known.items()):
            if link and link.file and link.file.id == file_id:
                del self._known[token]

    async def _note_copy(self, file_id: str, missing: bool) -> None:
        await self._files.note_copy(file_id, missing=missing)
        self.forget(file_id)

    def forget_all(self) -> None:
        """Read all links again before they are used."""
        self._known.clear()

    async def _read(self, token: str) -> Link | None:
        at, known = self._known.get(token, (-math.inf, None))
        age = time.monotonic() - at
        if age < _FRESH:
            return known
        try:
            link = await self._links.get(token)
        except Unavailable:
            if age < _OUTAGE:
                return known
            raise
        self._known.pop(token, None)
        if link is not None:  # unknown tokens are not remembered: there are too many
            self._known[token] = time.monotonic(), link
            while len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return link


async def _warm_up(store: Store, links: Links, opener: ContentOpener) -> None:
    """Get ready for files in Telegram if somebody had such a link open lately. An API that serves none does
    not load what reads them."""
    try:
        since = await store.db.time_ms() - _LATELY_MS
        if await links.served_telegram(since):
            await opener.warm_up()
    except SaveAnyError as error:
        log.info("not_warmed_up", reason=error.message)  # the first file starts it


async def _take_back(limits: DeliveryLimits, token: str, address: str) -> None:
    """Take an opening back, also if the request was canceled."""
    await asyncio.shield(limits.close(token, address))
