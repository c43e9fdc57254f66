"""Replies which files some links lead to, without saving them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Never

import msgspec

from saveany.errors import SaveAnyError
from saveany.logs import get_logger
from saveany.models import Item, TaskSpec
from saveany.planning.plan import plan, source_name, with_final_path
from saveany.storage_set import StorageSet
from saveany.store.link_queries import REPLY_SECONDS, LinkQueries, LinkQuery, LinkReply
from saveany.texts import Text, stored
from workers.sources.base import Source

replace = msgspec.structs.replace

#: Seconds between two checks for a source that works.
_IDLE_SECONDS = 1.0
#: Seconds for one reply, of which the caller waits for `REPLY_SECONDS`.
_SECONDS = REPLY_SECONDS - 3
#: Maximum number of questions at a time, and of files in a reply.
_AT_ONCE, _MAX_FILES = 4, 1_000
#: Maximum number of files whose names and sizes are asked for one by one.
_MAX_PREPARED = 20

log = get_logger("saveany.worker")


async def reply_to_link_queries(
    queries: LinkQueries, sources: Mapping[str, Source], storages: StorageSet
) -> Never:
    """Reply to questions about links until canceled."""
    limit = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        while True:
            await limit.acquire()
            if query := await _next(queries, _readers(sources, storages)):
                replying = group.create_task(_reply(queries, query, sources[query.spec.type]))
                replying.add_done_callback(lambda _: limit.release())
            else:
                limit.release()


async def _next(queries: LinkQueries, readers: list[str]) -> LinkQuery | None:
    if not readers:
        await asyncio.sleep(_IDLE_SECONDS)
        return None
    return await queries.next(readers)


def _readers(sources: Mapping[str, Source], storages: StorageSet) -> list[str]:
    """What `TaskSpec.reader` may be for questions that this worker can answer."""
    working = [kind for kind, source in sources.items() if not source.problem]
    found = [kind for kind in working if kind != "transfer"]
    return [*found, *(f"transfer@{name}" for name in storages.working if "transfer" in working)]


async def _reply(queries: LinkQueries, query: LinkQuery, source: Source) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            items = await _items(source, query.spec)
        reply = LinkReply(items=items[:_MAX_FILES], total=len(items))
    except SaveAnyError as error:
        reply = LinkReply(error=type(error).__name__, retryable=error.retryable, message=stored(error.text))
    except TimeoutError:
        message = Text("looking the link up took longer than {seconds} seconds", {"seconds": _SECONDS})
        reply = LinkReply(error="Unavailable", retryable=True, message=stored(message))
    except Exception:
        log.exception("link_query_failed", type=query.spec.type)
        message = Text("internal error; see the worker's log")
        reply = LinkReply(error="Unavailable", retryable=True, message=stored(message))
    finally:
        await source.forget(query.spec.id)
    await queries.reply(query, reply)


async def _items(source: Source, spec: TaskSpec) -> list[Item]:
    """The items that the task would have, with the names and sizes that are known without a download."""
    items = plan(spec, await source.resolve(spec))
    unknown = [item for item in items if item.size is None and not source.is_local(item)][:_MAX_PREPARED]
    prepared = await asyncio.gather(*(_prepared(source, spec, item) for item in unknown))
    by_index = {item.index: item for item in prepared}
    return [by_index.get(item.index, item) for item in items]


async def _prepared(source: Source, spec: TaskSpec, item: Item) -> Item:
    try:
        named = replace(item, name=source_name(item))
        return with_final_path(spec, item, await source.prepare(named, spec, _ignore))
    except SaveAnyError as error:
        return replace(item, error=error.message, error_text=error.text)


def _ignore(fetched: int, total: int | None) -> None:
    """The progress of a download that does not take place."""
