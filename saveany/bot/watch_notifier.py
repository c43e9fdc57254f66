"""Notifies users of the files that were saved from the chats they watch, and of chats that cannot be
watched."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from saveany.bot.render import clip, reason, task_view
from saveany.bot.texts import HtmlTranslator, escape, translator
from saveany.errors import Permanent, Retryable
from saveany.ids import created_ms
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.models import Status, Task
from saveany.service import TaskReader
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.update_types import Keyboard
from saveany.texts import Text, loaded

#: Seconds between two rounds.
_INTERVAL = 5.0
#: By `Archive.notify`: the minimum age of the oldest task in a notification, and the minimum time
#: between two notifications of one chat, both in seconds.
_DELAYS: Mapping[str, tuple[int, int]] = {"each": (0, 30), "digest": (3600, 3600)}
#: Maximum number of tasks in one notification, and how many of them are listed by name.
_MAX_TASKS, _MAX_LISTED = 500, 10
#: Users are notified of a problem that lasts longer than this, in milliseconds.
_PROBLEM_MS = 600_000
#: A problem is not reported again within this time, in seconds.
_WEEK = 7 * 24 * 3600

log = get_logger("saveany.bot")


class MessageApi(Protocol):
    """The part of `BotClient` that sends messages."""

    async def send_text(self, chat: int, text: str, keyboard: Keyboard = (), *, key: str = "") -> int:
        """Send a message; a second one with the same key is not sent. Raises `Retryable` or `Permanent`."""


class WatchNotifier:
    """Sends the notifications of watched chats. They stay in the store until they are sent."""

    def __init__(
        self,
        store: Store,
        reader: TaskReader,
        client: MessageApi,
        language: str,
        *,
        interval: float = _INTERVAL,
    ) -> None:
        self._store = store
        self._reader = reader
        self._client = client
        self._language = language  # of the bot, for users who have not chosen one
        self._watches = store.archives
        self._interval = interval

    async def run(self) -> None:
        """Send notifications until canceled."""
        await repeat("watch_notifier", self.round, self._interval)

    async def round(self) -> None:
        """Send the notifications that are due."""
        watches = {watch.id: watch for watch in await self._watches.all()}
        pending: dict[str, list[str]] = {}  # watch id -> task ids
        for task_id, watch_id in (await self._watches.unnotified_tasks()).items():
            pending.setdefault(watch_id, []).append(task_id)
        for watch_id, task_ids in pending.items():
            if watch_id not in watches:
                await self._watches.remove_tasks(task_ids)
        for watch in watches.values():
            try:
                await self._notify(watch, pending.get(watch.id, ()))
            except Retryable as error:
                log.warning("notification_delayed", user=watch.user_id, reason=error.message)

    async def _notify(self, watch: Archive, task_ids: Sequence[str]) -> None:
        """Send what is due for one chat, unless a notification was sent recently."""
        problem = loaded(watch.problem)
        if problem and watch.problem_since + _PROBLEM_MS < _now():
            await self._report_problem(watch, problem)
        min_age, pause = _DELAYS.get(watch.notify, (0, 0))
        # The age is negative if the clock was wrong when the task was created.
        if not task_ids or 0 <= _now() - created_ms(task_ids[0]) < min_age * 1000:
            return
        first = list(task_ids[:_MAX_TASKS])
        tasks = {task.id: task for task in await self._reader.get_many(first)}
        ended = [task for task in tasks.values() if task.status.ended]
        deleted = [task_id for task_id in first if task_id not in tasks]
        if ended and watch.notify != "none":
            if not await self._store.bot.first_time(f"watch:{watch.id}", pause):
                return
            await self._report_tasks(watch, ended)
        if ended or deleted:
            await self._watches.remove_tasks([*deleted, *(task.id for task in ended)])

    async def _report_tasks(self, watch: Archive, tasks: Sequence[Task]) -> None:
        t = await self._translator(watch)
        keyboard: Keyboard = ()
        if len(tasks) == 1:
            items = await self._reader.all_items(tasks[0].id)
            view = task_view(t, tasks[0], items)
            text, keyboard = f"👁 {escape(watch.title)}\n{view.text}", view.keyboard
        else:
            text = "\n".join(_summary(t, watch, tasks))
        await self._send(watch, text, keyboard, key=",".join(task.id for task in tasks))

    async def _report_problem(self, watch: Archive, problem: Text) -> None:
        if await self._store.bot.first_time(f"trouble:{watch.id}:{watch.problem_since}", _WEEK):
            t = await self._translator(watch)
            text = t(
                "I cannot watch <b>{title}</b> at the moment: {problem}. I will continue where I stopped as "
                "soon as that is solved.",
                title=watch.title,
                problem=t.text(problem).rstrip(".。"),
            )
            await self._send(watch, text, (), key=f"{watch.id}:{watch.problem_since}")

    async def _send(self, watch: Archive, text: str, keyboard: Keyboard, key: str) -> None:
        """Send a message to the user who watches the chat, unless that user has blocked the bot."""
        try:
            digest = hashlib.sha256(key.encode()).hexdigest()
            await self._client.send_text(watch.user_id, text, keyboard, key=f"news:{digest}")
        except Permanent as error:
            log.warning("notification_dropped", user=watch.user_id, reason=error.message)

    async def _translator(self, watch: Archive) -> HtmlTranslator:
        preferences = await self._store.preferences.get(watch.user_id)
        return translator(preferences.language or self._language or watch.language)


def _summary(t: HtmlTranslator, watch: Archive, tasks: Sequence[Task]) -> Iterator[str]:
    """The number of saved files, and the names of some tasks, failed ones first."""
    failed = [task for task in tasks if task.status is not Status.COMPLETED]
    saved = [task for task in tasks if task.status is Status.COMPLETED]
    files = sum(max(1, task.items_total) for task in saved)
    yield f"👁 <b>{escape(watch.title)}</b>"
    yield t.plural("{n} file saved", "{n} files saved", files)
    listed = [*failed[:_MAX_LISTED], *saved][:_MAX_LISTED]
    for task in listed:
        icon = "✅" if task.status is Status.COMPLETED else "❌"
        why = f": {escape(reason(t, task.error_text or Text(task.error), 80))}" if task.error else ""
        yield f"{icon} {escape(_name(t, task))}{why}"
    if len(tasks) > len(listed):
        yield t("and {n} more", n=len(tasks) - len(listed))


def _name(t: HtmlTranslator, task: Task) -> str:
    return clip(t.text(task.subject), 60)


def _now() -> int:
    return time.time_ns() // 1_000_000
