"""Replies to queries about the storages of this worker: files of a folder, free space, whether it works."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Never

from saveany.errors import InvalidInput, NameTaken, NotFound, SaveAnyError, StorageUnavailable
from saveany.logs import get_logger
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store.queries import QueryResult, StorageQueries, StorageQuery
from saveany.texts import Text
from storages.base import Storage, UploadKey, Usage

#: Seconds between two checks for a storage that can be queried.
_IDLE_SECONDS = 1.0

log = get_logger("saveany.worker")


async def reply_forever(queries: StorageQueries, storages: StorageSet) -> Never:
    """Reply to queries until canceled, to several at a time: a storage that hangs delays no other."""
    async with asyncio.TaskGroup() as group:
        while True:
            names = [handle.storage.name for handle in storages.present]
            if not names:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            query = await queries.next(names)
            handle = storages.get(query.storage) if query else None  # it may have been removed meanwhile
            if query and handle:
                group.create_task(_reply(queries, query, handle))


async def _reply(queries: StorageQueries, query: StorageQuery, handle: StorageHandle) -> None:
    seconds = query.seconds - 1  # before the caller stops waiting
    try:
        async with asyncio.timeout(seconds):
            result = QueryResult(result=await _KINDS[query.kind](handle.storage, **query.args))
    except SaveAnyError as error:
        result = QueryResult(error=type(error).__name__, message=error.text)
    except TimeoutError:
        message = Text(
            "storage {storage!r} did not respond within {seconds} seconds",
            {"storage": query.storage, "seconds": seconds},
        )
        result = QueryResult(error=StorageUnavailable.__name__, message=message)
    except Exception:
        log.exception("storage_query_failed", storage=query.storage, kind=query.kind)
        message = Text("internal error; see the worker's log")
        result = QueryResult(error="SaveAnyError", message=message)
    await queries.reply(query, result)
    if result.error == StorageUnavailable.__name__:
        await handle.probe()  # so that tasks for this storage wait from now on


async def _list(storage: Storage, path: str, after: str, limit: int) -> list[dict[str, Any]]:
    if not storage.capabilities.lists:
        raise InvalidInput("storage {storage!r} cannot list its files", storage=storage.name)
    if path and await storage.stat(path) is None:
        raise NotFound("there is no folder {path!r} in storage {storage!r}", path=path, storage=storage.name)
    return [asdict(entry) for entry in await storage.list(path, after=after, limit=limit)]


async def _probe(storage: Storage) -> float:
    started = time.monotonic()
    await storage.probe()
    return round(time.monotonic() - started, 3)


async def _stat(storage: Storage, path: str) -> bool:
    return await storage.stat(path) is not None


async def _size(storage: Storage, path: str) -> int | None:
    if not storage.capabilities.lists:  # a chat: its messages have no paths, so it would have no file at all
        raise InvalidInput("storage {storage!r} cannot list its files", storage=storage.name)
    return await storage.size(path)


async def _sha256(storage: Storage, path: str, lengths: list[int]) -> list[str] | None:
    """The SHA-256 of the consecutive pieces of a file with these lengths, or of the whole file if there are
    none, as hexadecimal numbers; None if the file does not exist, or is not as long as all of them."""
    if not storage.capabilities.reads:
        raise InvalidInput("the files in storage {storage!r} cannot be read", storage=storage.name)
    size = await storage.size(path)
    if size is None or (lengths and size != sum(lengths)):
        return None
    found, at = [], 0
    async with await storage.open(path) as reader:
        for length in lengths or [size]:
            digest = hashlib.sha256()
            async for piece in reader.read(at, at + length):
                digest.update(piece)
            at += length
            found.append(digest.hexdigest())
    return found


async def _write(storage: Storage, path: str, text: str, task: str, item: int) -> bool:
    """Write a small file, unless it exists with this content. False if another file has the name."""
    data = text.encode()
    upload = await storage.begin(UploadKey(task, item, 1), path, len(data))
    async with upload:
        await upload.write(0, data)
        await upload.seal(len(data))
        try:
            await upload.commit(path, len(data), replace=False)
        except NameTaken:
            await upload.abort()
            found = await _sha256(storage, path, []) if storage.capabilities.reads else None
            return found == [hashlib.sha256(data).hexdigest()]
    return True


async def _usage(storage: Storage) -> dict[str, int | None]:
    return asdict(await storage.usage() if storage.capabilities.usage else Usage())


_KINDS: Mapping[str, Callable[..., Awaitable[Any]]] = {
    "list": _list,
    "probe": _probe,
    "sha256": _sha256,
    "size": _size,
    "stat": _stat,
    "usage": _usage,
    "write": _write,
}
