"""Keeps the messages that show the progress of tasks up to date.

Each chat has its own pace: one edit at a time, and no edit without a change. An event of a task only
marks its messages as outdated. Their text is rendered from the state of the task when they are edited, so a
chat that had to wait shows the newest state, and a task never waits for a chat.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from msgspec.structs import replace

from saveany.bot.render import task_view
from saveany.bot.texts import translator
from saveany.errors import Permanent, Retryable, Unavailable
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.models import Status, Task
from saveany.service import TaskReader
from saveany.store import Store
from saveany.store.progress_messages import ProgressMessage
from saveany.telegram.update_types import Keyboard

#: Minimum time between two edits in one chat, in seconds.
INTERVAL: Final = 1.0
#: Pause after a failure, in seconds.
_RETRY_DELAY = 0.5

log = get_logger("saveany.bot.progress")


class MessageEditor(Protocol):
    """The part of `BotClient` that edits messages."""

    async def edit(self, chat: int, message: int, text: str, keyboard: Keyboard = ()) -> None:
        """Edit a message. Raises `Retryable` with the seconds to wait, and `Permanent` if the message was
        deleted or can no longer be edited."""


class _TrackedMessage:
    """A message that shows the progress of a task."""

    def __init__(self, record: ProgressMessage) -> None:
        self.record = record
        self.task_ended = False  # when the task was last read
        self.gone = False  # it can no longer be edited


class _EditQueue:
    """The tracked messages of one chat, and which of them are outdated, oldest first."""

    def __init__(self) -> None:
        self.messages: dict[int, _TrackedMessage] = {}
        self._ended: dict[int, None] = {}  # message ids, in order
        self._changed: dict[int, None] = {}
        self._added = asyncio.Event()

    def mark_outdated(self, message: int, *, ended: bool = False) -> None:
        """Queue a message to be edited. Messages of ended tasks are edited first."""
        if ended:
            self._changed.pop(message, None)
            self._ended[message] = None
        elif message not in self._ended:
            self._changed[message] = None
        self._added.set()

    async def next(self) -> _TrackedMessage:
        """Wait for the next outdated message."""
        while True:
            for outdated in (self._ended, self._changed):
                while outdated:
                    message = next(iter(outdated))
                    del outdated[message]
                    if tracked := self.messages.get(message):
                        return tracked
            self._added.clear()
            await self._added.wait()


class ProgressUpdater:
    """Edits the progress messages while it runs. They are stored, and so survive restarts."""

    def __init__(
        self, store: Store, reader: TaskReader, editor: MessageEditor, *, interval: float = INTERVAL
    ) -> None:
        self._store = store
        self._reader = reader
        self._editor = editor
        self._interval = interval
        self._chats: dict[int, _EditQueue] = {}
        self._by_task: dict[str, dict[tuple[int, int], None]] = {}  # task id -> (chat, message), in order
        self._group: asyncio.TaskGroup | None = None
        # Held while tracked messages are added or removed, here and in the store.
        self._tracking = asyncio.Lock()

    async def follow(self, message: ProgressMessage) -> None:
        """Keep a message up to date until it shows the end of its task. A message that is tracked already
        shows the new task instead."""
        async with self._tracking:
            await self._store.progress_messages.keep(message)
            self._untrack(message.chat, message.message)
            self._track(message)

    async def run(self) -> None:
        """Edit messages until canceled, beginning with all stored ones."""
        async with asyncio.TaskGroup() as self._group:
            for step in (self._follow_events, self._follow_progress):
                self._group.create_task(repeat("progress messages", step, _RETRY_DELAY))

    async def _follow_events(self) -> None:
        position = await self._store.events.last_id()
        await self._track_stored()
        async for event in self._store.events.follow(position):
            if event.task_id:  # else it is one of an archive
                self._mark_outdated(event.task_id, ended=Status(event.status).ended)

    async def _follow_progress(self) -> None:
        async for event in self._store.events.progress():
            self._mark_outdated(event.task_id)

    async def _track_stored(self) -> None:
        """Track all stored messages. Events from before are not replayed, so all of them count as
        outdated."""
        async with self._tracking:
            for message in await self._store.progress_messages.all():
                chat = self._chats.get(message.chat)
                if chat is None or message.message not in chat.messages:
                    self._track(message)
        for task_id in self._by_task:
            self._mark_outdated(task_id)

    def _mark_outdated(self, task_id: str, *, ended: bool = False) -> None:
        for chat, message in self._by_task.get(task_id, ()):
            self._chats[chat].mark_outdated(message, ended=ended)

    def _track(self, message: ProgressMessage) -> None:
        if self._group is None:
            return  # `run` reads it from the store
        if message.chat not in self._chats:
            self._chats[message.chat] = _EditQueue()
            self._group.create_task(self._edit_chat(message.chat))
        chat = self._chats[message.chat]
        chat.messages[message.message] = _TrackedMessage(message)
        self._by_task.setdefault(message.task_id, {})[message.chat, message.message] = None
        chat.mark_outdated(message.message)

    def _untrack(self, chat: int, message: int) -> None:
        if chat not in self._chats or not (tracked := self._chats[chat].messages.pop(message, None)):
            return
        others = self._by_task[tracked.record.task_id]
        del others[chat, message]
        if not others:
            del self._by_task[tracked.record.task_id]

    async def _edit_chat(self, chat_id: int) -> None:
        """Edit the messages of a chat until none is tracked."""
        chat = self._chats[chat_id]
        while chat.messages:
            tracked = await chat.next()
            await asyncio.sleep(await self._update(chat, tracked))
        del self._chats[chat_id]

    async def _update(self, chat: _EditQueue, tracked: _TrackedMessage) -> float:
        """Bring a message up to date. Returns the seconds to wait before the next edit in its chat."""
        try:
            return self._interval if await self._show_state(tracked) else 0.0
        except Retryable as error:
            wait = error.after
        except Unavailable:  # logged by `_follow_events`
            wait = _RETRY_DELAY
        except Exception as error:
            wait = _RETRY_DELAY
            log.warning("message_not_edited", chat=tracked.record.chat, reason=str(error))
        chat.mark_outdated(tracked.record.message, ended=tracked.task_ended)
        return max(self._interval, wait)

    async def _show_state(self, tracked: _TrackedMessage) -> bool:
        """Show the present state of a task, unless the message shows it already. Returns whether the message
        was edited."""
        task = await self._reader.get(tracked.record.task_id)
        if task is None:  # it was deleted long after its end
            await self._save(tracked, final=True)
            return False
        tracked.task_ended = task.status.ended
        edited = not tracked.gone and await self._edit(tracked, task)
        if edited or tracked.task_ended or tracked.gone:
            await self._save(tracked, final=tracked.task_ended or tracked.gone)
        return edited

    async def _edit(self, tracked: _TrackedMessage, task: Task) -> bool:
        record = tracked.record
        items = await self._reader.all_items(task.id)
        view = task_view(translator(record.language), task, items, record.name)
        if view.fingerprint == record.shown:
            return False
        try:
            await self._editor.edit(record.chat, record.message, view.text, view.keyboard)
        except Permanent as error:
            log.info("message_not_editable", chat=record.chat, reason=error.message)
            tracked.gone = True
        tracked.record = replace(record, shown=view.fingerprint)
        return True

    async def _save(self, tracked: _TrackedMessage, *, final: bool) -> None:
        """Store what the message shows, or stop tracking it; neither if it shows another task by now."""
        async with self._tracking:
            record = tracked.record
            if self._chats[record.chat].messages.get(record.message) is not tracked:
                return
            if not final:
                await self._store.progress_messages.keep(record)
                return
            await self._store.progress_messages.remove(record)
            self._untrack(record.chat, record.message)
