"""Reads the pages of a chat ahead, while earlier ones are handled."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from saveany.telegram.history import MessagePage, ReadMessage

#: Pages that are handled together at most, messages with files after which there are enough, and seconds that
#: the first page waits for others.
_JOINED, _ENOUGH, _JOIN_SECONDS = 20, 100, 0.1

#: Reads the messages after an id. As soon as they are there, before they are parsed, it calls the
#: function with the id of the last one.
Fetch = Callable[[int, Callable[[int], None]], Coroutine[Any, Any, MessagePage]]


class EnoughPages(Exception):
    """As many pages were read as were asked for."""


class Pages:
    """The pages of a chat in order. Those that have arrived are joined: with few files, writing them down
    takes longer than reading them."""

    def __init__(self, queue: asyncio.Queue[MessagePage | Exception]) -> None:
        self._queue = queue
        self._arrived: deque[MessagePage | Exception] = deque()
        self._peers: SimpleNamespace | None = None  # that came with the previous messages

    async def next(self, earlier: list[ReadMessage]) -> MessagePage:
        """The messages `earlier` and one or more further pages; no further messages at the end of the chat.
        Raises what the reading of the page has raised, and `EnoughPages`."""
        if not self._arrived:
            self._arrived.append(await self._queue.get())
        until = time.monotonic() + _JOIN_SECONDS
        page = self._take()
        messages, replies = [*earlier, *page.messages], [page.reply]
        files = sum(each.has_media for each in messages)
        if earlier:
            replies.append(self._peers)
        for _ in range(_JOINED - 1):
            if not page.messages or files >= _ENOUGH:
                break
            if not self._arrived:
                await self._wait(until)
            if not self._arrived or isinstance(self._arrived[0], Exception) or not self._arrived[0].messages:
                break
            page = self._take()
            messages += page.messages
            files += sum(each.has_media for each in page.messages)
            replies.append(page.reply)
        self._peers = _joined(replies)
        return replace(page, messages=messages, reply=self._peers)

    async def _wait(self, until: float) -> None:
        """Wait for one more page until a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                self._arrived.append(await self._queue.get())

    def _take(self) -> MessagePage:
        found = self._arrived.popleft()
        if isinstance(found, Exception):
            raise found
        return found


def _joined(replies: Iterable[Any]) -> SimpleNamespace:
    """The users and chats that came with some replies, as if it were one."""
    found = [each for each in replies if each is not None]
    return SimpleNamespace(
        users=[user for each in found for user in each.users],
        chats=[chat for each in found for chat in each.chats],
    )


@asynccontextmanager
async def reading_ahead(fetch: Fetch, seen: int, ahead: int, limit: int) -> AsyncIterator[Pages]:
    """Read `limit` pages after the message `seen`, one after the other, until the block ends; at most `ahead`
    pages ahead."""
    queue: asyncio.Queue[MessagePage | Exception] = asyncio.Queue(ahead)
    reading = asyncio.create_task(_read(fetch, seen, queue, limit))
    try:
        yield Pages(queue)
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _read(fetch: Fetch, seen: int, queue: asyncio.Queue[MessagePage | Exception], limit: int) -> None:
    """Put pages into the queue, up to the end of the chat, an error or the limit. The next page is requested
    as soon as the previous one has arrived."""
    requests: dict[int, asyncio.Task[MessagePage]] = {}  # those that nobody waits for yet, by their first id
    begun = 0

    def request(after: int) -> None:
        nonlocal begun
        begun += 1
        requests[after] = asyncio.create_task(fetch(after, request_next))

    def request_next(after: int) -> None:
        if not requests and begun < limit:
            request(after)

    try:
        last = seen
        for _ in range(limit):
            if last not in requests:
                request(last)
            try:
                page = await requests.pop(last)
            except Exception as error:
                await queue.put(error)
                return
            await queue.put(page)
            if page.is_last and page.messages:
                await queue.put(replace(page, messages=[]))
            if page.is_last or not page.messages:
                return
            last = page.last
        await queue.put(EnoughPages())
    finally:
        for unused in requests.values():
            unused.cancel()
        await asyncio.gather(*requests.values(), return_exceptions=True)
