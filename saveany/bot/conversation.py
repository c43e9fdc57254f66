"""Questions that a user answers with the next message. They are kept in memory: a restart ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from saveany.logs import get_logger
from saveany.telegram.update_types import ChatMessage

_Party = tuple[int, int]  # chat id and user id

#: Handles a message that arrives during a conversation while no question is open; False if it does not.
HandleUnexpected = Callable[[ChatMessage], Awaitable[bool]]

log = get_logger("saveany.bot")


class Conversations:
    """The open questions and running conversations, at most one per chat and user."""

    def __init__(self) -> None:
        self._questions: dict[_Party, asyncio.Future[ChatMessage]] = {}
        self._running: dict[_Party, asyncio.Task[None]] = {}
        self._unexpected: dict[_Party, HandleUnexpected] = {}

    def begin(
        self,
        chat: int,
        user: int,
        conversation: Coroutine[Any, Any, None],
        unexpected: HandleUnexpected | None = None,
    ) -> None:
        """Run a conversation beside the handlers, in place of an earlier one with this user in this chat.

        `unexpected` gets the messages that arrive while no question is open, except files and links.
        """
        self.end(chat, user)
        self._running[chat, user] = asyncio.create_task(_log_failure(conversation))
        if unexpected is not None:
            self._unexpected[chat, user] = unexpected

    def end(self, chat: int, user: int) -> bool:
        """Cancel the running conversation; False if there is none."""
        self._unexpected.pop((chat, user), None)
        running = self._running.pop((chat, user), None)
        return running is not None and running.cancel()

    async def close(self) -> None:
        """Cancel all conversations."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def expects(self, message: ChatMessage) -> bool:
        """Whether a message is the reply to a question, or may be meant as one. A file never is."""
        return message.file is None and (
            _party(message) in self._questions or self._handles_unexpected(message)
        )

    async def deliver(self, message: ChatMessage) -> bool:
        """Pass a message to the question or conversation that it belongs to; False if there is none."""
        question = self._questions.pop(_party(message), None)
        if question is not None and not question.done():
            question.set_result(message)
            return True
        return self._handles_unexpected(message) and await self._unexpected[_party(message)](message)

    def _handles_unexpected(self, message: ChatMessage) -> bool:
        running = self._running.get(_party(message))
        handled = running is not None and not running.done() and _party(message) in self._unexpected
        return handled and not message.urls

    async def wait_for_reply(self, chat: int, user: int, seconds: float) -> ChatMessage | None:
        """The user's next message that is not a command; None after the timeout, or if another question takes
        the place of this one.

        Call it in a conversation, not in a handler: updates of one chat are handled one after the other, so
        the reply would wait for the handler.
        """
        party = (chat, user)
        self.cancel_question(chat, user)
        question = self._questions[party] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({question}, timeout=seconds)
            return question.result() if question.done() and not question.cancelled() else None
        finally:
            if self._questions.get(party) is question:
                del self._questions[party]

    def cancel_question(self, chat: int, user: int) -> None:
        """Stop waiting for a reply."""
        question = self._questions.pop((chat, user), None)
        if question is not None:
            question.cancel()


async def _log_failure(conversation: Coroutine[Any, Any, None]) -> None:
    try:
        await conversation
    except Exception:
        log.exception("conversation_failed")


def _party(message: ChatMessage) -> _Party:
    return message.chat, message.sender.id
