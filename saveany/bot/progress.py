"""Messages that show how far tasks are, kept up to date.

Each chat has its own pace: one edit at a time, and none that changes nothing. What happens to a task only
marks its messages; what they say is read when their turn has come, so a chat that must wait shows the newest
state afterwards, and a task never waits for a chat.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from msgspec.structs import replace

from saveany.bot.render import task_view
from saveany.bot.texts import translator
from saveany.errors import Permanent, Retryable
from saveany.logs import get_logger
from saveany.models import Status, Task
from saveany.store import Store
from saveany.store.db import TROUBLE
from saveany.store.loops import repeat
from saveany.store.progress_messages import ProgressMessage
from saveany.telegram.update_types import Keyboard

#: Seconds between two edits in one chat.
INTERVAL: Final = 1.0
_RETRY_DELAY = 0.5

log = get_logger("saveany.bot.progress")


class MessageEditor(Protocol):
    """What edits messages."""

    async def edit(self, chat: int, message: int, text: str, keyboard: Keyboard = ()) -> None:
        """Change a message. Raises `Retryable` with the seconds to wait, and `Permanent` if it was deleted or
        cannot be changed any more."""


class _Card:
    """One message."""

    def __init__(self, message: ProgressMessage) -> None:
        self.message = message
        self.ended = False  # its task, when that was read last
        self.gone = False  # it can be edited no more


class _ChatQueue:
    """The messages of one chat, and which of them may have to be edited, oldest first."""

    def __init__(self) -> None:
        self.cards: dict[int, _Card] = {}
        self._ended: dict[int, None] = {}
        self._changed: dict[int, None] = {}
        self._woken = asyncio.Event()

    def touch(self, message: int, *, ended: bool = False) -> None:
        """Have a look at a message."""
        if ended:
            self._changed.pop(message, None)
            self._ended[message] = None
        elif message not in self._ended:
            self._changed[message] = None
        self._woken.set()

    async def next(self) -> _Card:
        """The next message to look at; those whose task has ended go first."""
        while True:
            for waiting in (self._ended, self._changed):
                while waiting:
                    message = next(iter(waiting))
                    del waiting[message]
                    if card := self.cards.get(message):
                        return card
            self._woken.clear()
            await self._woken.wait()


class ProgressUpdater:
    """Follows tasks while it runs; what it follows is kept over restarts."""

    def __init__(self, store: Store, voice: MessageEditor, *, interval: float = INTERVAL) -> None:
        self._store = store
        self._voice = voice
        self._interval = interval
        self._chats: dict[int, _ChatQueue] = {}
        self._by_task: dict[str, dict[tuple[int, int], None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()  # what is followed, here and in the store

    async def follow(self, message: ProgressMessage) -> None:
        """Keep a message up to date until the end of its task is shown. A message that is followed already
        shows another task from now on, or the same once more."""
        async with self._changing:
            await self._store.live.keep(message)
            self._drop(message.chat, message.message)
            self._take(message)

    async def run(self) -> None:
        """Edit messages, for ever. Everything that is kept is looked at once."""
        async with asyncio.TaskGroup() as self._group:
            for step in (self._watch, self._listen):
                self._group.create_task(repeat("live messages", step, _RETRY_DELAY))

    async def _watch(self) -> None:
        position = await self._store.events.last_id()
        await self._look_at_all()
        async for event in self._store.events.follow(position):
            self._touch(event.task_id, ended=Status(event.status).ended)

    async def _listen(self) -> None:
        async for event in self._store.events.progress():
            self._touch(event.task_id)

    async def _look_at_all(self) -> None:
        """What happened before is not told again."""
        async with self._changing:
            for message in await self._store.live.all():
                chat = self._chats.get(message.chat)
                if chat is None or message.message not in chat.cards:
                    self._take(message)
        for task_id in self._by_task:
            self._touch(task_id)

    def _touch(self, task_id: str, *, ended: bool = False) -> None:
        for chat, message in self._by_task.get(task_id, ()):
            self._chats[chat].touch(message, ended=ended)

    def _take(self, message: ProgressMessage) -> None:
        if self._group is None:
            return  # `run` finds it in the store
        if message.chat not in self._chats:
            self._chats[message.chat] = _ChatQueue()
            self._group.create_task(self._serve(message.chat))
        chat = self._chats[message.chat]
        chat.cards[message.message] = _Card(message)
        self._by_task.setdefault(message.task_id, {})[message.chat, message.message] = None
        chat.touch(message.message)

    def _drop(self, chat: int, message: int) -> None:
        if chat not in self._chats or not (card := self._chats[chat].cards.pop(message, None)):
            return
        others = self._by_task[card.message.task_id]
        del others[chat, message]
        if not others:
            del self._by_task[card.message.task_id]

    async def _serve(self, chat_id: int) -> None:
        """Edit the messages of a chat until it has none."""
        chat = self._chats[chat_id]
        while chat.cards:
            card = await chat.next()
            await asyncio.sleep(await self._look(chat, card))
        del self._chats[chat_id]

    async def _look(self, chat: _ChatQueue, card: _Card) -> float:
        """Bring a message up to date. Returns how long to leave the chat alone."""
        try:
            return self._interval if await self._bring_up(card) else 0.0
        except Retryable as error:
            wait = error.after
        except TROUBLE:  # said by `_watch`
            wait = _RETRY_DELAY
        except Exception as error:
            wait = _RETRY_DELAY
            log.warning("a message was not edited, trying again", chat=card.message.chat, error=str(error))
        chat.touch(card.message.message, ended=card.ended)
        return max(self._interval, wait)

    async def _bring_up(self, card: _Card) -> bool:
        """Show the newest state of a task, if the message does not. Returns whether it was edited."""
        task = await self._store.tasks.get(card.message.task_id)
        if task is None:  # it ended long ago
            await self._settle(card, over=True)
            return False
        card.ended = task.status.ended
        edited = not card.gone and await self._edit(card, task)
        if edited or card.ended or card.gone:
            await self._settle(card, over=card.ended or card.gone)
        return edited

    async def _edit(self, card: _Card, task: Task) -> bool:
        message = card.message
        items = await self._store.tasks.all_items(task.id)
        view = task_view(translator(message.language), task, items, message.name)
        if view.mark == message.shown:
            return False
        try:
            await self._voice.edit(message.chat, message.message, view.text, view.keyboard)
        except Permanent as error:
            log.info("a message cannot be edited any more", chat=message.chat, reason=error.message)
            card.gone = True
        card.message = replace(message, shown=view.mark)
        return True

    async def _settle(self, card: _Card, *, over: bool) -> None:
        """Keep what was shown, or let go of the message; not if it shows something else by now."""
        async with self._changing:
            message = card.message
            if self._chats[message.chat].cards.get(message.message) is not card:
                return
            if not over:
                await self._store.live.keep(message)
                return
            await self._store.live.remove(message)
            self._drop(message.chat, message.message)
