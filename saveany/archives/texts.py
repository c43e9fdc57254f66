"""Writes the texts of archived messages to the storage, in parts that are never changed."""

from __future__ import annotations

import time
from functools import partial

from msgspec.structs import replace

from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import Retryable, StorageUnavailable, Unavailable
from saveany.planning.requests import TaskRequest, destination
from saveany.store import Store
from saveany.store.archives import Archive

#: Number of messages of a part.
_PART = 1000
#: Milliseconds after which new messages of an archive that follows are written, even if they are few.
_FLUSH_MS = 24 * 3600 * 1000
#: Seconds that the storage has to write a part, and until it is tried again.
_WRITE_SECONDS, _RETRY_SECONDS = 60, 30


class TextWriter:
    """Writes parts as soon as they are complete."""

    def __init__(self, store: Store, catalogue: Catalogue, config: Config) -> None:
        self._store = store
        self._config = config
        self._texts = catalogue.texts

    async def write(self, archive: Archive) -> Archive:
        """Write all parts that are complete; at the end of the chat, and once a day from then on, also the
        rest. Returns the changed archive. Raises `Retryable` while the storage does not respond."""
        now = time.time_ns() // 1_000_000
        flush = archive.is_read and archive.text_at + _FLUSH_MS < now
        while await self._texts.begin_part(archive.id, archive.text_parts + 1, _PART, flush=flush) > 0:
            number = archive.text_parts + 1
            await self._write(archive, number)
            written = partial(replace, text_parts=number, text_at=now if archive.is_read else 0)
            changed = await self._store.archives.change(archive.id, written)
            await self._texts.end_part(archive.id, number)
            if changed is None:
                break
            archive = changed
        return archive

    async def _destination(self, archive: Archive) -> tuple[str, str]:
        """The storage and the folder: where the files are saved, too."""
        user = self._config.user(archive.user_id)
        if user is None:
            raise Retryable("the user of this archive is not configured any more", after=_RETRY_SECONDS)
        request = TaskRequest(links=(), storage=archive.storage, folder=archive.folder)
        preferences = await self._store.preferences.recent(user.id)
        return destination(self._config, user, request, preferences)

    async def _write(self, archive: Archive, number: int) -> None:
        storage, folder = await self._destination(archive)
        lines = await self._texts.lines(archive.id, number, folder)
        text = b"\n".join([*lines, b""]).decode()
        for name in (f"messages-{number:06}.jsonl", f"messages-{number:06}-{archive.id}.jsonl"):
            path = f"{folder}/{name}".lstrip("/")
            args = {"path": path, "text": text, "task": archive.id, "item": number}
            try:
                result = await self._store.queries.send(storage, "write", args, seconds=_WRITE_SECONDS)
            except Unavailable as error:
                raise Retryable(error.text, after=_RETRY_SECONDS) from error
            if result.error:
                raise (StorageUnavailable if result.error == "StorageUnavailable" else Retryable)(result.text)
            if result.result:
                return
        raise Retryable("the storage has other files with the names of this archive's texts", after=3600)
