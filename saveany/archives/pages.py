"""Reads the pages of a chat ahead, while earlier ones are handled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from saveany.telegram.history import MessagePage, ReadMessage

#: Pages that are handled together at most, and messages with files after which there are enough.
_JOINED, _ENOUGH = 20, 100

#: Reads the messages after an id.
Fetch = Callable[[int], Awaitable[MessagePage]]


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
        page = self._take()
        messages, replies = [*earlier, *page.messages], [page.reply]
        if earlier:
            replies.append(self._peers)
        for _ in range(_JOINED - 1):
            if not page.messages or sum(each.has_media for each in messages) >= _ENOUGH:
                break
            if not self._arrived and not self._queue.empty():
                self._arrived.append(self._queue.get_nowait())
            if not self._arrived or isinstance(self._arrived[0], Exception) or not self._arrived[0].messages:
                break
            page = self._take()
            messages += page.messages
            replies.append(page.reply)
        self._peers = _joined(replies)
        return replace(page, messages=messages, reply=self._peers)

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
    """Put pages into the queue, up to the end of the chat, an error or the limit."""
    last = seen
    for _ in range(limit):
        try:
            page = await fetch(last)
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
