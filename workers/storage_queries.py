"""Answers what the API asks about the storages of this worker: what lies in a folder, whether it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from saveany.errors import InvalidInput, NotFound, SaveAnyError, StorageUnavailable
from saveany.logs import get_logger
from saveany.store.queries import PATIENCE, QueryResult, StorageQueries, StorageQuery
from storages.base import Storage, Usage
from workers.storage_set import StorageHandle

log = get_logger("saveany.worker")


async def answer_forever(asks: StorageQueries, places: Mapping[str, StorageHandle]) -> None:
    """Answer one question after the other, each in a task of its own: one that hangs holds up nobody."""
    async with asyncio.TaskGroup() as group:
        while True:
            here = [name for name, place in places.items() if place.here]
            if not here:
                await asyncio.sleep(1)
            elif ask := await asks.next(here):
                group.create_task(_reply(asks, ask, places[ask.storage]))


async def _reply(asks: StorageQueries, ask: StorageQuery, place: StorageHandle) -> None:
    try:
        async with asyncio.timeout(PATIENCE - 1):
            answer = QueryResult(result=await _KINDS[ask.kind](place.storage, **ask.args))
    except SaveAnyError as error:
        answer = QueryResult(error=type(error).__name__, message=error.message)
    except TimeoutError:
        message = f"storage {ask.storage!r} did not answer within {PATIENCE - 1} seconds"
        answer = QueryResult(error=StorageUnavailable.__name__, message=message)
    except Exception:
        log.exception("a question about a storage failed unexpectedly", storage=ask.storage, kind=ask.kind)
        answer = QueryResult(error="SaveAnyError", message="internal error; the worker's log tells more")
    await asks.reply(ask, answer)
    if answer.error == StorageUnavailable.__name__:
        await place.works()  # whoever has tasks for it learns that now


async def _list(storage: Storage, path: str, after: str, limit: int) -> list[dict[str, Any]]:
    if not storage.capabilities.lists:
        raise InvalidInput(f"storage {storage.name!r} cannot list its files")
    if path and await storage.stat(path) is None:
        raise NotFound(f"there is no folder {path!r} in storage {storage.name!r}")
    return [asdict(entry) for entry in await storage.list(path, after=after, limit=limit)]


async def _probe(storage: Storage) -> float:
    began = time.monotonic()
    await storage.probe()
    return round(time.monotonic() - began, 3)


async def _stat(storage: Storage, path: str) -> bool:
    return await storage.stat(path) is not None


async def _usage(storage: Storage) -> dict[str, int | None]:
    return asdict(await storage.usage() if storage.capabilities.usage else Usage())


_KINDS: Mapping[str, Callable[..., Awaitable[Any]]] = {
    "list": _list,
    "probe": _probe,
    "stat": _stat,
    "usage": _usage,
}
