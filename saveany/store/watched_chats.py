"""Watched chats: whose new files are saved, for whom, and up to which message that is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder
from saveany.store.tasks import created_ms

_KEY, _TASKS = keys.WATCHED_CHATS(), keys.WATCHED_TASKS()

Notify = Literal["each", "digest", "none"]


class WatchedChat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One chat that one user has watched."""

    id: str  # short, unique; new with every watch
    user_id: int
    chat: int  # marked: -100…
    title: str
    username: str = ""  # by which an account finds the chat that is no member
    account: str  # the user account that sees it
    storage: str = ""  # "": the user's default
    folder: str = ""  # "": the user's default
    filter: dict[str, Any] = msgspec.field(default_factory=dict)  # fields of `saveany.filters.Filter`
    seen: int = 0  # all messages up to this id are handled
    notify: Notify = "each"  # what its user is told: what was saved, the same once an hour, or nothing
    language: str = ""  # in which its user is told, if the user has not chosen one
    created_at: int
    problem: str = ""  # why it does not go on, in words for the user
    problem_since: int = 0  # ms

    @property
    def name(self) -> str:
        """The chat as its user may write it: @name or -100…"""
        return f"@{self.username}" if self.username else str(self.chat)


_decode = decoder(WatchedChat)


class WatchedChats:
    """All of them."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, watch: WatchedChat) -> None:
        """Keep a new watch."""
        await self._db.do("HSET", _KEY, watch.id, codec.encode(watch))

    async def all(self) -> list[WatchedChat]:
        """Every watch, oldest first."""
        found = await self._db.do("HGETALL", _KEY)
        watches = self._db.records.all("watch", found.items(), _decode)
        return sorted(watches, key=lambda watch: (watch.created_at, watch.id))

    async def of_user(self, user_id: int) -> list[WatchedChat]:
        """Those of one user, oldest first."""
        return [watch for watch in await self.all() if watch.user_id == user_id]

    async def get(self, watch_id: str) -> WatchedChat | None:
        """One, or None."""
        found = await self._db.do("HGET", _KEY, watch_id)
        return self._read(watch_id, found) if found else None

    def _read(self, watch_id: str, found: bytes) -> WatchedChat | None:
        return self._db.records.one("watch", watch_id, found, _decode)

    async def remove(self, watch_id: str) -> None:
        """End it; what it has made tasks of goes on."""
        await self._db.do("HDEL", _KEY, watch_id)

    async def change(self, watch_id: str, how: Callable[[WatchedChat], WatchedChat]) -> WatchedChat | None:
        """The watch as it is after `how`; None if there is none any more. Changes made at once by others are
        not lost: then `how` is asked again."""
        while found := await self._db.do("HGET", _KEY, watch_id):
            watch = self._read(watch_id, found)
            if watch is None:
                return None
            changed = how(watch)
            text = codec.encode(changed)
            if text == found or await self._db.script("change", _KEY, watch_id, found, text):
                return changed
        return None

    async def advance(self, watch_id: str, seen: int) -> WatchedChat | None:
        """All messages up to `seen` are handled; never goes back. Returns as `change`."""
        return await self.change(watch_id, lambda watch: replace(watch, seen=max(watch.seen, seen)))

    async def note(self, watch_id: str, problem: str, now_ms: int) -> None:
        """Why it does not go on; empty: it does."""

        def noted(watch: WatchedChat) -> WatchedChat:
            since = watch.problem_since or now_ms if problem else 0
            return replace(watch, problem=problem, problem_since=since)

        await self.change(watch_id, noted)

    async def made(self, task_id: str, watch_id: str) -> None:
        """A task was made for a watch; its user has not been told of it."""
        await self._db.do("HSET", _TASKS, task_id, watch_id)

    async def untold(self) -> dict[str, str]:
        """Tasks of which their users have not been told, oldest first, and their watches."""
        found = await self._db.do("HGETALL", _TASKS)
        named = ((task, (task, watch)) for task, watch in sorted(found.items()))
        return dict(self._db.records.all("watched task", named, _untold))

    async def told(self, task_ids: Sequence[str]) -> None:
        """There is nothing more to tell of these."""
        await self._db.do("HDEL", _TASKS, *task_ids)


def _untold(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    task_id, watch_id = (each.decode() for each in pair)
    created_ms(task_id)  # raises for what is no id
    return task_id, watch_id
