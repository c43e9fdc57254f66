"""Tells users what watched chats have brought, and which cannot be watched any more."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from saveany.bot.render import clip, reason, task_view
from saveany.bot.texts import Translator, plain, translator
from saveany.errors import Permanent, Retryable
from saveany.ids import created_ms
from saveany.logs import get_logger
from saveany.models import Status, Task
from saveany.store import Store
from saveany.store.loops import repeat
from saveany.store.watched_chats import WatchedChat
from saveany.telegram.update_types import Keyboard

_EVERY_SECONDS = 5.0
#: How old the first news is when it is told, and how often any is: seconds.
_WAITS: Mapping[str, tuple[int, int]] = {"each": (0, 30), "digest": (3600, 3600)}
#: Tasks that are looked at at once, and those that are named.
_MOST, _NAMED = 500, 10
#: What does not pass within this is told.
_PROBLEM_MS = 600_000
_WEEK = 7 * 24 * 3600

log = get_logger("saveany.bot")


class MessageApi(Protocol):
    """Says it: `Talk`."""

    async def send_text(self, chat: int, text: str, keyboard: Keyboard = (), *, key: str = "") -> int:
        """A message; what has the same key is said once. Raises `Retryable` or `Permanent`."""


class WatchNotifier:
    """What there is to tell of watched chats. It is kept in the store until it is told."""

    def __init__(
        self, store: Store, voice: MessageApi, language: str, *, every: float = _EVERY_SECONDS
    ) -> None:
        self._store = store
        self._voice = voice
        self._language = language  # of the bot, for who has not chosen one
        self._watches = store.watched_chats
        self._every = every

    async def run(self) -> None:
        """Tell it until canceled."""
        await repeat("watch_notifier", self.round, self._every)

    async def round(self) -> None:
        """Tell what is due."""
        watches = {each.id: each for each in await self._watches.all()}
        untold: dict[str, list[str]] = {}
        for task_id, watch_id in (await self._watches.unnotified_tasks()).items():
            untold.setdefault(watch_id, []).append(task_id)
        for watch_id, task_ids in untold.items():
            if watch_id not in watches:
                await self._watches.remove_tasks(task_ids)
        for watch in watches.values():
            try:
                await self._look(watch, untold.get(watch.id, ()))
            except Retryable as error:
                log.warning("news could not be told yet", user=watch.user_id, reason=error.message)

    async def _look(self, watch: WatchedChat, task_ids: Sequence[str]) -> None:
        """Tell what there is to tell of one chat, unless something was told just now."""
        if watch.problem and watch.problem_since + _PROBLEM_MS < _now():
            await self._complain(watch)
        age, pause = _WAITS.get(watch.notify, (0, 0))
        if not task_ids or created_ms(task_ids[0]) + age * 1000 > _now():
            return
        first = list(task_ids[:_MOST])
        found = {each.id: each for each in await self._store.tasks.get_many(first)}
        over = [each for each in found.values() if each.status.ended]
        gone = [each for each in first if each not in found]
        if over and watch.notify != "none":
            if not await self._store.bot.first_time(f"watch:{watch.id}", pause):
                return
            await self._tell(watch, over)
        if over or gone:
            await self._watches.remove_tasks([*gone, *(each.id for each in over)])

    async def _tell(self, watch: WatchedChat, tasks: Sequence[Task]) -> None:
        t = await self._translator(watch)
        keyboard: Keyboard = ()
        if len(tasks) == 1:
            items = await self._store.tasks.all_items(tasks[0].id)
            view = task_view(t, tasks[0], items)
            text, keyboard = f"👁 {plain(watch.title)}\n{view.text}", view.keyboard
        else:
            text = "\n".join(_listed(t, watch, tasks))
        await self._say(watch, text, keyboard, key=",".join(each.id for each in tasks))

    async def _complain(self, watch: WatchedChat) -> None:
        if await self._store.bot.first_time(f"trouble:{watch.id}:{watch.problem_since}", _WEEK):
            t = await self._translator(watch)
            text = t(
                "I cannot watch <b>{title}</b> any more: {problem}. I go on where I was when that is mended.",
                title=watch.title,
                problem=watch.problem.rstrip("."),
            )
            await self._say(watch, text, (), key=f"{watch.id}:{watch.problem_since}")

    async def _say(self, watch: WatchedChat, text: str, keyboard: Keyboard, key: str) -> None:
        """Say it to who has watched the chat. Who has blocked the bot does not want to know."""
        try:
            once = hashlib.sha256(key.encode()).hexdigest()
            await self._voice.send_text(watch.user_id, text, keyboard, key=f"news:{once}")
        except Permanent as error:
            log.warning("news could not be told", user=watch.user_id, reason=error.message)

    async def _translator(self, watch: WatchedChat) -> Translator:
        prefs = await self._store.preferences.get(watch.user_id)
        return translator(prefs.language or self._language or watch.language)


def _listed(t: Translator, watch: WatchedChat, tasks: Sequence[Task]) -> Iterator[str]:
    """Counts, and the names of some; those that failed first."""
    failed = [each for each in tasks if each.status is not Status.COMPLETED]
    saved = [each for each in tasks if each.status is Status.COMPLETED]
    files = sum(max(1, each.items_total) for each in saved)
    yield f"👁 <b>{plain(watch.title)}</b>"
    yield t.n("{n} file saved", "{n} files saved", files)
    named = [*failed[:_NAMED], *saved][:_NAMED]
    for each in named:
        mark = "✅" if each.status is Status.COMPLETED else "❌"
        why = f": {plain(reason(each.error, 80))}" if each.error else ""
        yield f"{mark} {plain(_name(t, each))}{why}"
    if len(tasks) > len(named):
        yield t("and {n} more", n=len(tasks) - len(named))


def _name(t: Translator, task: Task) -> str:
    return clip(t.text(task.subject), 60)


def _now() -> int:
    return time.time_ns() // 1_000_000
