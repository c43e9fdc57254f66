"""Watched chats: new messages with files become tasks of the user who watches the chat.

A chat is read forward from the last handled message, not from pushed updates, so nothing is missed while
this process is not running. A task is created before its message counts as handled, with an idempotency
key for the message, so a crash in between does not create a second task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

from msgspec.structs import replace

from saveany.config import Config
from saveany.errors import Retryable, SaveAnyError, TaskError, Unavailable
from saveany.filters import Filter
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.service import Principal, TaskRequest, TaskService
from saveany.store import Store
from saveany.store.watched_chats import WatchedChat
from saveany.telegram.accounts import Accounts
from saveany.telegram.history import MessagePage
from saveany.telegram.links import MessageLink
from saveany.telegram.media import Media, captioned
from saveany.texts import Text, loaded

#: Seconds between two checks of the watched chats.
_CHECK_SECONDS = 10.0
#: Seconds until a chat that could not be read is tried again, if the error does not say.
_RETRY_SECONDS = 60.0
#: Pages read from one chat before moving on to the next.
_MAX_PAGES = 10
#: Queued tasks above which no more messages are read, so that an old chat cannot fill the memory of Redis.
_MAX_QUEUED = 2000
#: An id above every message id, for a chat whose newest message is unknown.
_UNKNOWN_ID = 2**31

_log = get_logger(__name__)


class ChatWatcher:
    """Turns new messages of all watched chats into tasks. Only one process may run it."""

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        tasks: TaskService,
        config: Config,
        *,
        check_seconds: float = _CHECK_SECONDS,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._tasks = tasks
        self._config = config
        self._check_seconds = check_seconds
        self._retry_at: dict[str, float] = {}  # id of a watched chat -> monotonic time of the next try
        self._growing: dict[str, int] = {}  # id of a watched chat -> last message of an incomplete album

    async def run(self) -> None:
        """Check the watched chats until canceled."""
        await repeat("watched chats", self.check, self._check_seconds)

    async def check(self) -> None:
        """Check every watched chat once. Raises `Unavailable`, alone or in a group, during an outage."""
        now = time.monotonic()
        chats = await self._store.watched_chats.all()
        due = [chat for chat in chats if self._retry_at.get(chat.id, 0) <= now]
        due.sort(key=lambda chat: chat.account)
        async with asyncio.TaskGroup() as group:
            for account, its_chats in groupby(due, key=lambda chat: chat.account):
                group.create_task(self._check_account(account, list(its_chats)))

    async def _check_account(self, account: str, chats: Sequence[WatchedChat]) -> None:
        """Read the chats of one account that have new messages, with another account if this one cannot."""
        try:
            newest = await self._accounts.history.newest_ids(
                account, {chat.chat: chat.username for chat in chats}
            )
        except Retryable as error:
            for chat in chats:
                self._retry_after(chat, error.after)
            return
        except TaskError:
            newest = {}
        for chat in chats:
            if newest.get(chat.chat, _UNKNOWN_ID) > chat.seen:
                await self._check_chat(chat)
            elif chat.problem:
                await self._set_problem(chat, None)

    async def _check_chat(self, chat: WatchedChat) -> None:
        """Read the new messages of a chat, and store why that failed if it did."""
        problem: Text | None = None
        try:
            await self._read(chat)
        except Unavailable:
            raise
        except SaveAnyError as error:
            self._retry_after(chat, error.after if error.retryable else _RETRY_SECONDS)
            problem = error.text
        except Exception:
            _log.exception("watched_chat_failed", watch=chat.id, chat=chat.chat)
            self._retry_after(chat, _RETRY_SECONDS)
            problem = Text("an unexpected error in SaveAny; see the log of the bot")
        if problem != loaded(chat.problem):
            await self._set_problem(chat, problem)

    def _retry_after(self, chat: WatchedChat, seconds: float) -> None:
        self._retry_at[chat.id] = time.monotonic() + seconds

    async def _set_problem(self, chat: WatchedChat, problem: Text | None) -> None:
        await self._store.watched_chats.set_problem(chat.id, problem, time.time_ns() // 1_000_000)

    async def _read(self, chat: WatchedChat) -> None:
        """Turn the messages after the last handled one into tasks."""
        for _ in range(_MAX_PAGES):
            if (await self._store.tasks.counts())["queued"] >= _MAX_QUEUED:
                return
            user = self._config.user(chat.user_id)
            page = await self._accounts.history.messages_after(
                chat.chat,
                chat.seen,
                username=chat.username,
                prefer=chat.account,
                only=user.accounts if user else (),
            )
            updated = await self._handle_page(chat, page)
            if updated is None or not page.full:
                return
            chat = updated

    async def _handle_page(self, chat: WatchedChat, page: MessagePage) -> WatchedChat | None:
        """Create the tasks of a page. Returns the updated chat, None if it is no longer watched."""
        posts, last = self._complete_posts(chat, page)
        for post in posts:
            await self._save(chat, post)
            if not await self._store.watched_chats.advance(chat.id, post[-1].message_id):
                return None
        await self._store.watched_chats.advance(chat.id, last)
        seen_by = {"account": page.account, "username": page.username}
        return await self._store.watched_chats.change(chat.id, lambda now: replace(now, **seen_by))

    def _complete_posts(self, chat: WatchedChat, page: MessagePage) -> tuple[list[list[Media]], int]:
        """The files of a page by post (an album is one post), and the id of the last message they include.

        An album at the end of the chat may still be growing: it is left out until it is unchanged in the next
        check.
        """
        posts = [list(each) for _, each in groupby(page.media, key=_post)]
        end = posts[-1] if posts else []
        may_grow = bool(end) and end[-1].grouped_id is not None and end[-1].message_id == page.last
        if not may_grow:
            return posts, page.last
        if not page.full:
            if self._growing.get(chat.id) == page.last:
                return posts, page.last
            self._growing[chat.id] = page.last
        return posts[:-1], end[0].message_id - 1

    async def _save(self, chat: WatchedChat, post: Sequence[Media]) -> None:
        """Create a task for the files of a message or album that pass the filter of the chat."""
        wanted = Filter.model_validate(chat.filter)
        files = [each for each in captioned(post) if wanted.accepts(each)]
        if not files:
            return
        request = TaskRequest(
            links=list(_links(files)),
            type="tgfiles",
            storage=chat.storage,
            folder=chat.folder,
            params={"username": files[0].chat_username},
        )
        owner = Principal(chat.user_id)
        accepted = await self._tasks.submit(owner, request, key=f"watch:{chat.id}:{post[0].message_id}")
        if chat.notify != "none":
            await self._store.watched_chats.add_task(accepted.id, chat.id)


def _post(media: Media) -> int:
    """A value that is equal for the files of one album, and unique for every other file of the chat."""
    return media.grouped_id or media.message_id


def _links(files: Iterable[Media]) -> Iterable[str]:
    """Links to exactly these files, one for each run of consecutive messages.

    They contain the id of the chat: its username may belong to another chat when the task starts.
    """
    numbered = enumerate({each.message_id: each for each in files}.values())
    for _, row in groupby(numbered, key=lambda pair: pair[1].message_id - pair[0]):
        first, *_, last = [*(media for _, media in row)] * 2
        yield MessageLink(
            chat=-first.chat_id - 10**12,
            message=first.message_id,
            last=last.message_id if last is not first else None,
            single=last is first and first.grouped_id is not None,
        ).url
