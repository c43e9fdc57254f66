"""Archives: chats whose files are saved for a user. A watched chat is an archive that starts with new
messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from saveany.ids import created_ms
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder
from saveany.texts import StoredText, Text, stored

_KEY, _TASKS, _REMOVED = keys.WATCHED_CHATS(), keys.WATCHED_TASKS(), keys.REMOVED_ARCHIVES()
_LOCK = keys.LOCK("archives")

_BOT_API_OFFSET = 10**12

Notify = Literal["each", "digest", "none"]


class Archive(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat that is archived for a user."""

    id: str  # short and unique; each archive has a new one
    user_id: int
    chat: int  # marked: -100… for channels and supergroups, -… for basic groups, positive for people
    title: str
    username: str = ""  # lets an account that is not a member find the chat
    account: str  # the user account that reads the chat
    storage: str = ""  # "": the user's default
    folder: str = ""  # "": the user's default
    filter: dict[str, Any] = msgspec.field(default_factory=dict)  # fields of `saveany.filters.Filter`
    start: str = "now"  # as requested: first, now, the number of a message, or a date
    until: int = 0  # ms: messages from then on are not read; 0 if there is no such limit
    follow: bool = True  # whether new messages are saved, too
    copy: str = ""  # how files get into a chat of Telegram: auto, reference or bytes; "": bytes
    in_order: bool = False  # whether one task saves each page, after the tasks of earlier ones
    on_duplicate: str = ""  # a `saveany.models.OnDuplicate`; "": as the user prefers
    on_edit: str = "ignore"  # ignore, or add: the new file of an edited message is saved beside the old one
    pts: int = 0  # number of the last event of the chat whose edits were handled; 0 if none was yet
    adopts: str = ""  # storage with files that it may adopt (`catalogue.adoption`); "" if there are none
    seen: int = 0  # id of the last message that was handled
    older_chat: int = 0  # basic group (marked id) that became this supergroup and is read before it; 0: none
    older_seen: int = 0  # id of the last message that was handled there
    older_account: str = ""  # the user account that can read that group
    extras: list[str] = msgspec.field(default_factory=list)  # `saveany.models.ExtraFile` that are saved, too
    stories: bool = False  # whether the stories of the channel are saved, too
    profile_photos: bool = False  # whether the profile photos of the chat are saved, too
    takeout: bool = False  # whether it is to be read in a takeout (`telegram.takeout`)
    takeout_id: int = 0  # the one that is open; 0: none
    takeout_account: str = ""  # whose it is
    takeout_after: int = 0  # ms: none is begun before
    text: bool = False  # whether the texts of all messages are written to the storage
    text_parts: int = 0  # number of files with texts that were written
    text_at: int = 0  # ms: when the last of them was written after the end of the chat
    topic: int = 0  # the only topic of the forum that is saved; 0: all
    by_topic: bool = False  # whether each topic of a forum has a folder
    topics: dict[str, str] = msgspec.field(default_factory=dict)  # id of a topic -> its folder
    comments: bool = False  # whether the comments on the posts are saved; then each post has a folder
    comments_filter: dict[str, Any] = msgspec.field(default_factory=dict)  # as `filter`
    discussion: int = 0  # marked id of the group with the comments
    notice: StoredText = ""  # what is not part of the archive, and why; "" if nothing is missing
    is_read: bool = False  # the end of the chat was reached once
    is_paused: bool = False  # by the user
    has_unassigned: bool = False  # some messages are to be saved by new tasks
    completions: int = 0  # how often that was reported
    completed_at: int = 0  # ms: when `archive_complete` was reported; 0 if it was not
    notify: Notify = "each"  # notifications: for each file, once an hour, or never
    language: str = ""  # of notifications, if the user has not chosen one
    created_at: int
    problem: StoredText = ""  # why reading is interrupted, shown to the user; "" if it is not
    problem_since: int = 0  # ms
    problem_reported: bool = False  # whether `archive_problem` was reported

    def reader_of(self, chat: int) -> str:
        """The only account that may read a chat (marked id) of the archive, because it alone knows the
        messages by these ids; "" for a channel or supergroup, which any account may read."""
        if is_channel(chat):
            return ""
        return self.account if chat == self.chat else self.older_account

    def subfolder(self, chat: int, topic: int) -> str:
        """The folder below `folder` for messages of a chat in a topic, or of a post or its comments."""
        if not self.comments or not topic:
            return self.topics.get(str(topic), "")
        return f"{topic}/comments" if chat == self.discussion else str(topic)

    @property
    def is_read_on(self) -> bool:
        """Whether messages of the chat may have to be read."""
        return self.follow or not self.is_read

    @property
    def name(self) -> str:
        """The chat as a user writes it: @name or an id."""
        return f"@{self.username}" if self.username else str(self.chat)


def is_channel(chat: int) -> bool:
    """Whether the chat with this marked id is a channel or supergroup: all accounts know its messages by the
    same ids."""
    return chat < -_BOT_API_OFFSET


_decode = decoder(Archive)


class Archives:
    """All archives, and with them all watched chats."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def add(self, watch: Archive) -> None:
        """Add an archive."""
        await self._db.do("HSET", _KEY, watch.id, codec.encode(watch))
        await self.wake()

    async def all(self) -> list[Archive]:
        """All archives, oldest first."""
        found = await self._db.do("HGETALL", _KEY)
        watches = self._db.records.all("watch", found.items(), _decode)
        return sorted(watches, key=lambda watch: (watch.created_at, watch.id))

    async def wake(self) -> None:
        """Have the archives checked at once."""
        await self._db.do("PUBLISH", keys.PREFIX + keys.ARCHIVES_CHANGED, "")

    async def wake_ups(self) -> AsyncIterator[None]:
        """Yields when the subscription is active, and for each call of `wake`. Raises `StoreUnavailable` when
        the connection breaks."""
        async for _ in self._db.listen(keys.ARCHIVES_CHANGED):
            yield

    async def exist(self) -> bool:
        """Whether there is any archive, or the receipt of a removed one is still to be deleted."""
        return any(await self._db.many([("HLEN", _KEY), ("SCARD", _REMOVED)]))

    async def take_turn(self, holder: str, milliseconds: int) -> bool:
        """Become the process that reads the archives for a while, or stay it. False if another one is."""
        if await self._db.do("SET", _LOCK, holder, "NX", "PX", milliseconds):
            return True
        if await self._db.do("GET", _LOCK) != holder.encode():
            return False
        return bool(await self._db.do("PEXPIRE", _LOCK, milliseconds))

    async def is_turn_taken(self) -> bool:
        """Whether a process reads the archives."""
        return bool(await self._db.do("EXISTS", _LOCK))

    async def end_turn(self, holder: str) -> None:
        """Stop being the process that reads the archives."""
        if await self._db.do("GET", _LOCK) == holder.encode():
            await self._db.do("DEL", _LOCK)

    async def of_user(self, user_id: int) -> list[Archive]:
        """The archives of a user, oldest first."""
        return [watch for watch in await self.all() if watch.user_id == user_id]

    async def get(self, watch_id: str) -> Archive | None:
        """An archive, or None."""
        found = await self._db.do("HGET", _KEY, watch_id)
        return self._read(watch_id, found) if found else None

    def _read(self, watch_id: str, found: bytes) -> Archive | None:
        return self._db.records.one("watch", watch_id, found, _decode)

    async def remove(self, watch_id: str) -> None:
        """Stop reading; tasks that were created continue. The process that reads the archives deletes the
        receipt: nobody else knows when it writes no more of it."""
        await self._db.many([("SADD", _REMOVED, watch_id), ("HDEL", _KEY, watch_id)], together=True)
        await self.wake()

    async def removed(self) -> list[str]:
        """The removed archives that may have a receipt still."""
        found = await self._db.do("SMEMBERS", _REMOVED)
        return self._db.records.all("removed archive", ((each, each) for each in found), bytes.decode)

    async def forget(self, watch_id: str) -> None:
        """Record that a removed archive has no receipt any more."""
        await self._db.do("SREM", _REMOVED, watch_id)

    async def change(self, watch_id: str, update: Callable[[Archive], Archive]) -> Archive | None:
        """Store `update(watch)` and return it; None if the watch no longer exists. If another process changed
        it in the meantime, `update` is called again with the new one, so no change is lost."""
        while found := await self._db.do("HGET", _KEY, watch_id):
            watch = self._read(watch_id, found)
            if watch is None:
                return None
            changed = update(watch)
            text = codec.encode(changed)
            if text == found or await self._db.script("change", _KEY, watch_id, found, text):
                return changed
        return None

    async def advance(self, watch_id: str, seen: int, *, older: bool = False, **found: str) -> Archive | None:
        """Record that messages up to `seen` are handled, in the older group if there is one and `older` is
        given; never moves backwards. `found` are other fields to change. Returns as `change`."""
        field = "older_seen" if older else "seen"

        def advanced(watch: Archive) -> Archive:
            return replace(watch, **{**found, field: max(getattr(watch, field), seen)})

        return await self.change(watch_id, advanced)

    async def set_problem(self, watch_id: str, problem: Text | None, now_ms: int) -> None:
        """Record why reading is interrupted; None records that it works again."""

        def noted(watch: Archive) -> Archive:
            if problem is None:
                return replace(watch, problem="", problem_since=0, problem_reported=False)
            return replace(watch, problem=stored(problem), problem_since=watch.problem_since or now_ms)

        await self.change(watch_id, noted)

    async def add_task(self, task_id: str, watch_id: str) -> None:
        """Record that a task was created for a watch, so that its user is notified when it ends."""
        await self._db.do("HSET", _TASKS, task_id, watch_id)

    async def unnotified_tasks(self) -> dict[str, str]:
        """Tasks whose users were not notified yet -> their watches, oldest first."""
        found = await self._db.do("HGETALL", _TASKS)
        named = ((task, (task, watch)) for task, watch in sorted(found.items()))
        return dict(self._db.records.all("watched task", named, _task_and_watch))

    async def remove_tasks(self, task_ids: Sequence[str]) -> None:
        """Remove tasks whose users were notified."""
        await self._db.do("HDEL", _TASKS, *task_ids)


def _task_and_watch(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    task_id, watch_id = (each.decode() for each in pair)
    created_ms(task_id)  # raises ValueError if it is not a task id
    return task_id, watch_id
