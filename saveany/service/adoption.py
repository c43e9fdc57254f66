"""Archives of chats whose files another program has saved before: which file belongs to which message."""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TextIO

import msgspec

from saveany.catalogue.adoption import FoundFile
from saveany.config import Config
from saveany.errors import InvalidInput, NotFound
from saveany.service.archives import ArchiveRequest, ArchiveService
from saveany.service.exports import Export
from saveany.service.inventory import is_saved_file, walk
from saveany.service.principal import Principal
from saveany.service.storage_queries import ask, require_worker
from saveany.service.streamed_text import text_of
from saveany.store import Store
from saveany.store.archives import Archive

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: Maximum number of files in the folder: they are in memory until all of them are matched.
_MAX_FILES = 500_000
#: Number of files that are noted at a time.
_BATCH = 1000
#: Names of files that contain the id of the message: those of tdl (with the chat), and those of
#: telegram_media_downloader.
_TDL = re.compile(r"(?P<chat>[0-9]{1,13})_(?P<message>[0-9]{1,10})_")
_DOWNLOADER = re.compile(r"(?P<message>[0-9]{1,10}) - ")
_CHANNEL = 10**12


@dataclass(frozen=True, slots=True)
class FolderAdoption:
    """The files that an archive adopts if their sizes, or contents, are those of its messages."""

    archive: Archive
    storage: str
    files: Sequence[FoundFile]  # one that belongs to several messages is repeated
    is_truncated: bool  # whether the export ends in the middle


class AdoptionService:
    """Makes archives that adopt files, one at a time."""

    def __init__(self, config: Config, store: Store, catalogue: Catalogue, archives: ArchiveService) -> None:
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._archives = archives
        self._turn = asyncio.Lock()

    async def adopt(
        self,
        principal: Principal,
        request: ArchiveRequest,
        export: AsyncIterator[bytes] | None = None,
        *,
        trial: bool = False,
    ) -> FolderAdoption:
        """Archive a chat, and adopt the files that are in its folder already. `export` is that of Telegram
        Desktop or tdl: it says which messages they belong to; without one only their names do. A `trial`
        changes nothing.

        Raises as `ArchiveService.add`, `Forbidden` unless the operator asks, and `InvalidInput` if the export
        is none, or that of another chat. Then there is no archive."""
        principal.require_operator()
        archive = await self._archives.prepare(principal, replace(request, paused=True))
        storage = await self._storage_of(archive)
        await require_worker(self._config, self._store, storage)
        async with self._turn:
            found = await self._listing(storage, archive.folder.strip("/"))
            loop = asyncio.get_running_loop()
            file = partial(text_of, export, loop) if export else None
            files, is_truncated = await asyncio.to_thread(_matched, found, archive, file)
        if not trial:
            await self._begin(principal, archive, files)
        return FolderAdoption(archive, storage, files, is_truncated)

    async def note(self, principal: Principal, archive_id: str, found: Sequence[FoundFile]) -> None:
        """Let an archive adopt files that are in its storage already, for messages that it has not read yet.
        Raises `Forbidden` unless the operator asks, and `InvalidInput` for a path out of the storage."""
        principal.require_operator()
        archive = await self._archives.find(principal, archive_id)
        for each in found:
            if each.path.startswith("/") or posixpath.normpath(f"/{each.path}") != f"/{each.path}":
                raise InvalidInput("{path!r} is not the path of a file in a storage", "files", path=each.path)
        storage = await self._storage_of(archive)
        await self._catalogue.adoption.add(archive_id, found)
        changed = await self._store.archives.change(
            archive_id, lambda now: msgspec.structs.replace(now, adopts=storage)
        )
        if changed is None:
            await self._store.archives.remove(archive_id)  # with what was added after it was removed
            raise NotFound("there is no archive {id}", id=archive_id)

    async def _storage_of(self, archive: Archive) -> str:
        """The storage in which an archive adopts files."""
        user = self._config.user(archive.user_id)
        chosen = archive.adopts or archive.storage
        return await self._archives.storage_of(user, chosen) if user else chosen

    async def _listing(self, storage: str, folder: str) -> list[FoundFile]:
        found: list[FoundFile] = []
        async for entry in walk(partial(ask, self._store, storage), storage, folder):
            if is_saved_file(entry):
                found.append(FoundFile(entry["path"], entry["size"]))
            if len(found) > _MAX_FILES:
                raise InvalidInput(
                    "this folder has more than {n} files; choose one below it", "dir_path", n=_MAX_FILES
                )
        return found

    async def _begin(self, principal: Principal, archive: Archive, files: Sequence[FoundFile]) -> None:
        """Begin to read the archive once all files are noted."""
        await self._archives.keep(archive)
        try:
            for start in range(0, len(files), _BATCH):
                await self.note(principal, archive.id, files[start : start + _BATCH])
        except Exception:
            await self._archives.remove(principal, archive.id)
            raise
        await self._archives.resume(principal, archive.id)


def _matched(
    found: Sequence[FoundFile], archive: Archive, export: Callable[[], TextIO] | None
) -> tuple[list[FoundFile], bool]:
    """The files with the messages that they belong to, and whether the export is incomplete."""
    chat = -archive.chat - _CHANNEL if archive.chat < -_CHANNEL else abs(archive.chat)
    names = [_names(file.path, archive.folder.strip("/")) for file in found]
    wanted = set(chain.from_iterable(names)) if export else set()
    messages, is_truncated = _exported(export(), chat, wanted) if export else ({}, False)

    def known() -> Iterator[FoundFile]:
        for file, (relative, name) in zip(found, names, strict=True):
            for message in messages.get(relative) or messages.get(name) or _in_name(name, chat) or [0]:
                yield FoundFile(file.path, file.size, message)

    return list(known()), is_truncated


def _names(path: str, folder: str) -> tuple[str, str]:
    """How an export may call a file in a folder: its path, relative to the folder, or its name."""
    relative = posixpath.relpath(f"/{path}", f"/{folder}")
    return relative, posixpath.basename(relative)


def _exported(file: TextIO, chat: int, names: Container[str]) -> tuple[dict[str, list[int]], bool]:
    """Path or name of a file, among those in `names` -> the messages of the chat that have it."""
    found: dict[str, list[int]] = {}
    of_chat = others = 0
    export = Export(file)
    for each in export.files():
        if each.chat not in (0, chat):
            others += 1
            continue
        of_chat += 1
        if (path := posixpath.normpath(each.path)) in names:
            found.setdefault(path, []).append(each.message)
    if not export.is_one:
        raise InvalidInput("this is no export of Telegram Desktop or tdl: there are no messages in it")
    if others and not of_chat:
        raise InvalidInput("this is the export of another chat")
    return found, export.is_truncated


def _in_name(name: str, chat: int) -> list[int]:
    """The message that a file name contains; none if it contains none."""
    found = _TDL.match(name)
    if found is None or int(found["chat"]) != chat:
        found = _DOWNLOADER.match(name)
    number = int(found["message"]) if found else 0
    return [number] if 0 < number < 2**31 else []
