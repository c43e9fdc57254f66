"""Questions whose answer is the next message of a person. They live in memory: a restart ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from saveany.logs import get_logger
from saveany.telegram.letters import Message

_Who = tuple[int, int]  # chat and person

log = get_logger("saveany.bot")


class Conversations:
    """Who is expected to say something."""

    def __init__(self) -> None:
        self._awaited: dict[_Who, asyncio.Future[Message]] = {}
        self._running: dict[_Who, asyncio.Task[None]] = {}

    def begin(self, chat: int, person: int, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which asks one thing after the other, beside the handlers; what this person was asked
        here before ends."""
        self.end(chat, person)
        self._running[chat, person] = asyncio.create_task(_logged(work))

    def end(self, chat: int, person: int) -> bool:
        """Cancel what `begin` began; False if that has ended."""
        running = self._running.pop((chat, person), None)
        return running is not None and running.cancel()

    async def close(self) -> None:
        """Cancel all of them."""
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def awaits(self, message: Message) -> bool:
        """Whether this is the answer to a question: that is never a file."""
        return message.file is None and _who(message) in self._awaited

    def hears(self, message: Message) -> bool:
        """Hand an answer to who has asked; False if nobody has."""
        asked = self._awaited.pop(_who(message), None)
        if asked is None or asked.done():
            return False
        asked.set_result(message)
        return True

    async def answer(self, chat: int, person: int, seconds: float) -> Message | None:
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


def _who(message: Message) -> _Who:
    return message.chat, message.sender.id
