"""Questions whose answer is the next message of a person. They live in memory: a restart ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from saveany.logs import get_logger
from saveany.telegram.update_types import ChatMessage

_Who = tuple[int, int]  # chat and person

#: Handles what somebody says who is being asked things, but not at this moment; False if it does not.
Stray = Callable[[ChatMessage], Awaitable[bool]]

log = get_logger("saveany.bot")


class Conversations:
    """Who is expected to say something."""

    def __init__(self) -> None:
        self._awaited: dict[_Who, asyncio.Future[ChatMessage]] = {}
        self._running: dict[_Who, asyncio.Task[None]] = {}
        self._strays: dict[_Who, Stray] = {}

    def begin(
        self, chat: int, person: int, work: Coroutine[Any, Any, None], stray: Stray | None = None
    ) -> None:
        """Run `work`, which asks one thing after the other, beside the handlers; what this person was asked
        here before ends. `stray` is given what they say in between, if that is neither a file nor a link."""
        self.end(chat, person)
        self._running[chat, person] = asyncio.create_task(_logged(work))
        if stray is not None:
            self._strays[chat, person] = stray

    def end(self, chat: int, person: int) -> bool:
        """Cancel what `begin` began; False if that has ended."""
        self._strays.pop((chat, person), None)
        running = self._running.pop((chat, person), None)
        return running is not None and running.cancel()

    async def close(self) -> None:
        """Cancel all of them."""
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def awaits(self, message: ChatMessage) -> bool:
        """Whether this is the answer to a question, or may be meant as one: that is never a file."""
        return message.file is None and (_who(message) in self._awaited or self._is_stray(message))

    async def hears(self, message: ChatMessage) -> bool:
        """Hand an answer to who has asked; False if nobody has."""
        asked = self._awaited.pop(_who(message), None)
        if asked is not None and not asked.done():
            asked.set_result(message)
            return True
        return self._is_stray(message) and await self._strays[_who(message)](message)

    def _is_stray(self, message: ChatMessage) -> bool:
        running = self._running.get(_who(message))
        asks = running is not None and not running.done() and _who(message) in self._strays
        return asks and not message.urls

    async def answer(self, chat: int, person: int, seconds: float) -> ChatMessage | None:
        """The next message of a person that is no command; None if none comes in time, or something else is
        asked meanwhile. Wait for it in what `begin` runs, not in a handler: a chat has one at a time."""
        who = (chat, person)
        self.cancel(chat, person)
        asked = self._awaited[who] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({asked}, timeout=seconds)
            return asked.result() if asked.done() and not asked.cancelled() else None
        finally:
            if self._awaited.get(who) is asked:
                del self._awaited[who]

    def cancel(self, chat: int, person: int) -> None:
        """Expect nothing from a person any more."""
        asked = self._awaited.pop((chat, person), None)
        if asked is not None:
            asked.cancel()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("a conversation failed unexpectedly")


def _who(message: ChatMessage) -> _Who:
    return message.chat, message.sender.id
