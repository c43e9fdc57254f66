"""Inbox: a file of a watched folder of this machine (`workers.inboxes` creates the tasks)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec.structs import replace

from saveany.config.schema import InboxConfig
from saveany.errors import Permanent, Retryable
from saveany.local_files import Version, decoded, open_below
from saveany.logs import get_logger
from saveany.models import Item, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.ranges import missing
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write
from workers.watched_files import move_away

#: Bytes that are read at once.
_PIECE: Final = 1 << 20

log = get_logger("saveany.inboxes")


def inbox_params(inbox: InboxConfig, below: str, version: Version) -> dict[str, Any]:
    """The parameters of a task for a file. Names may be no UTF-8, so they are quoted."""
    return {
        "inbox": str(inbox.path),
        "name": decoded(below.rpartition("/")[2]),
        "file": quote_from_bytes(os.fsencode(below)),
        "size": version.size,
        "mtime_ns": version.mtime_ns,
    }


class InboxSource(Source):
    """`inbox`: one version of one file. If it changes before it is saved, its task fails, and the watched
    folder creates one for the new version."""

    def __init__(self, tools: Tools) -> None:
        self._config = tools.config

    @property
    def is_concurrent(self) -> bool:
        """Small files do not wait for a slot."""
        return True

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The file, in the same folders as in the watched one."""
        source = {name: value for name, value in spec.params.items() if name != "name"}
        async with self._opened(source):
            *folders, name = _below(source).split("/")
        safe = "/".join(safe_name(decoded(folder)) for folder in folders)
        return [ResolvedFile(safe_name(decoded(name)), int(source["size"]), source, safe)]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item, if the file is still the version that was taken."""
        async with self._opened(item.source):
            return replace(item, size=int(item.source["size"]))

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Read the ranges that are missing. Raises `Permanent` unless the file stays the same meanwhile."""
        async with self._opened(item.source) as fd:
            for start, end in missing(have, item.size or 0):
                offset = start
                while offset < end:
                    data = await asyncio.to_thread(os.pread, fd, min(_PIECE, end - offset), offset)
                    if not data:
                        raise _changed()
                    await write(offset, data)
                    offset += len(data)
            if Version.of(os.fstat(fd)) != _version(item.source):
                raise _changed()

    def moves(self, spec: TaskSpec) -> bool:
        """Whether the watched folder says so."""
        inbox = self._inbox(spec.params)
        return inbox is not None and inbox.after != "keep"

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """Move or delete the file, unless it has changed: then it is saved again. The original of a file that
        the storage has altered is never deleted."""
        inbox, below = self._inbox(item.source), _below(item.source)
        if inbox is None:
            return
        # Telegram compresses photos, and videos that are cut into parts lose chapters and attached fonts.
        is_altered = item.size != int(item.source["size"]) or "parts" in item.reference
        if inbox.after == "delete" and is_altered:
            log.info("inbox_file_stays", file=decoded(below), reason="its storage keeps another version")
            return
        try:
            gone = await asyncio.to_thread(
                move_away, inbox.path, below, _version(item.source), inbox.moved_files
            )
        except OSError as error:
            raise Permanent(
                "{file} was saved, but stays in its folder: {reason}",
                file=decoded(below),
                reason=error.strerror or str(error),
            ) from error
        if not gone:
            log.info("inbox_file_stays", file=decoded(below), reason="it has changed")

    def _inbox(self, source: dict[str, Any]) -> InboxConfig | None:
        return next((each for each in self._config.inboxes if str(each.path) == source["inbox"]), None)

    @asynccontextmanager
    async def _opened(self, source: dict[str, Any]) -> AsyncIterator[int]:
        """A descriptor of the file. Raises `Permanent` if it is not there as it was taken."""
        if self._inbox(source) is None:
            raise Permanent("{folder} is not a watched folder any more", folder=source["inbox"])
        root = Path(source["inbox"])
        try:
            fd = await asyncio.to_thread(open_below, root, _below(source))
        except FileNotFoundError:
            if not await asyncio.to_thread(root.exists):
                raise Retryable("the watched folder {folder} does not exist", folder=str(root)) from None
            raise Permanent("the file is not in the watched folder any more") from None
        except OSError as error:
            raise Retryable(
                "{file} cannot be read: {reason}",
                file=decoded(_below(source)),
                reason=error.strerror or str(error),
            ) from error
        try:
            if Version.of(os.fstat(fd)) != _version(source):
                raise _changed()
            yield fd
        finally:
            os.close(fd)


def _below(source: dict[str, Any]) -> str:
    return os.fsdecode(unquote_to_bytes(source["file"]))


def _version(source: dict[str, Any]) -> Version:
    return Version(int(source["size"]), int(source["mtime_ns"]))


def _changed() -> Permanent:
    return Permanent("the file has changed since it was taken; when it is complete, another task saves it")
