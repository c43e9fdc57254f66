"""Watching chats: what is posted there becomes tasks of whoever has watched them.

A watched chat is read forward from the last message that was handled, never from pushed updates, so nothing
is missed while this does not run. A message becomes a task before it counts as handled, under a key of its
own, so a crash in between makes no second one.
"""

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
from saveany.service import Principal, TaskRequest, TaskService
from saveany.store import Store
from saveany.store.loops import repeat
from saveany.store.watched_chats import WatchedChat
from saveany.telegram.accounts import Accounts
from saveany.telegram.history import MessagePage
from saveany.telegram.links import MessageLink
from saveany.telegram.media import Media, captioned

#: How often it is asked what is new.
_EVERY_SECONDS = 10.0
#: How long a watch rests that failed for a reason that will hardly pass.
_REST_SECONDS = 60.0
#: So many pages of one chat are read before the others have their turn.
_PAGES = 10
#: Nothing more is read while so many tasks wait: a chat of years must not fill the memory of Redis.
_MOST_QUEUED = 2000
#: Above every message id.
_NOT_TOLD = 2**31

_log = get_logger(__name__)


class ChatWatcher:
    """Watches all chats. One process may do so at a time."""

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        tasks: TaskService,
        config: Config,
        *,
        every: float = _EVERY_SECONDS,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._tasks = tasks
        self._config = config
        self._every = every
        self._rests: dict[str, float] = {}  # watch -> when it is looked at again
        self._growing: dict[str, int] = {}  # watch -> last message of an album that may not be whole

    async def run(self) -> None:
        """Look for news until canceled."""
        await repeat("watched_chats", self.round, self._every)

    async def round(self) -> None:
        """Look once. Raises `Unavailable`, alone or in a group, during an outage."""
        now = time.monotonic()
        watches = [
            each for each in await self._store.watched_chats.all() if self._rests.get(each.id, 0) <= now
        ]
        watches.sort(key=lambda watch: watch.account)
        async with asyncio.TaskGroup() as group:
            for account, its in groupby(watches, key=lambda watch: watch.account):
                group.create_task(self._look(account, list(its)))

    async def _look(self, account: str, watches: Sequence[WatchedChat]) -> None:
        """Handle what is new in the chats of one account. What it cannot see another one reads, if it can."""
        try:
            tops = await self._accounts.history.newest_ids(
                account, {each.chat: each.username for each in watches}
            )
        except Retryable as error:
            for watch in watches:
                self._rest(watch, error.after)
            return
        except TaskError:
            tops = {}
        for watch in watches:
            if tops.get(watch.chat, _NOT_TOLD) > watch.seen:
                await self._handle(watch)
            elif watch.problem:
                await self._note(watch, "")

    async def _handle(self, watch: WatchedChat) -> None:
        try:
            await self._read(watch)
            problem = ""
        except Unavailable:
            raise
        except SaveAnyError as error:
            self._rest(watch, error.after if isinstance(error, Retryable) else _REST_SECONDS)
            problem = error.message
        except Exception:
            _log.exception("watched_chat_failed", watch=watch.id, chat=watch.chat)
            self._rest(watch, _REST_SECONDS)
            problem = "a mistake in SaveAny; its log tells more"
        if problem != watch.problem:
            await self._note(watch, problem)

    def _rest(self, watch: WatchedChat, seconds: float) -> None:
        self._rests[watch.id] = time.monotonic() + seconds

    async def _note(self, watch: WatchedChat, problem: str) -> None:
        await self._store.watched_chats.set_problem(watch.id, problem, time.time_ns() // 1_000_000)

    async def _read(self, watch: WatchedChat) -> None:
        """Handle the messages after the last one that was."""
        for _ in range(_PAGES):
            if (await self._store.tasks.counts())["queued"] >= _MOST_QUEUED:
                return
            user = self._config.user(watch.user_id)
            page = await self._accounts.history.messages_after(
                watch.chat,
                watch.seen,
                username=watch.username,
                prefer=watch.account,
                only=user.accounts if user else (),
            )
            kept = await self._take(watch, page)
            if kept is None or not page.full:
                return
            watch = kept

    async def _take(self, watch: WatchedChat, page: MessagePage) -> WatchedChat | None:
        """Handle a page. The watch as it is then, None if it was ended."""
        posts, last = self._whole(watch, page)
        for post in posts:
            await self._save(watch, post)
            if not await self._store.watched_chats.advance(watch.id, post[-1].message_id):
                return None
        await self._store.watched_chats.advance(watch.id, last)
        seen_by = {"account": page.account, "username": page.username}
        return await self._store.watched_chats.change(watch.id, lambda now: replace(now, **seen_by))

    def _whole(self, watch: WatchedChat, page: MessagePage) -> tuple[list[list[Media]], int]:
        """The files by post, an album's together, and the last message that is handled with them.

        An album at the end of what there is may still be growing: it waits until it has not in one round.
        """
        posts = [list(each) for _, each in groupby(page.media, key=_post)]
        end = posts[-1] if posts else []
        may_grow = bool(end) and end[-1].grouped_id is not None and end[-1].message_id == page.last
        if not may_grow:
            return posts, page.last
        if not page.full:
            if self._growing.get(watch.id) == page.last:
                return posts, page.last
            self._growing[watch.id] = page.last
        return posts[:-1], end[0].message_id - 1

    async def _save(self, watch: WatchedChat, post: Sequence[Media]) -> None:
        """Make a task of what the watch wants of a message or an album."""
        wanted = Filter.model_validate(watch.filter)
        files = [each for each in captioned(post) if wanted.accepts(each)]
        if not files:
            return
        request = TaskRequest(
            links=list(_links(files)),
            type="tgfiles",
            storage=watch.storage,
            folder=watch.folder,
            params={"username": files[0].chat_username},
        )
        owner = Principal(watch.user_id)
        accepted = await self._tasks.submit(owner, request, key=f"watch:{watch.id}:{post[0].message_id}")
        if watch.notify != "none":
            await self._store.watched_chats.add_task(accepted.id, watch.id)


def _post(media: Media) -> int:
    """What the files of an album have in common, and no others of the same chat."""
    return media.grouped_id or media.message_id


def _links(files: Iterable[Media]) -> Iterable[str]:
    """Links to exactly these files: one for each row of neighbouring messages. They name the chat by its id,
    as its username may belong to another chat when the task is begun."""
    numbered = enumerate({each.message_id: each for each in files}.values())
    for _, row in groupby(numbered, key=lambda pair: pair[1].message_id - pair[0]):
        first, *_, last = [*(media for _, media in row)] * 2
        yield MessageLink(
            chat=-first.chat_id - 10**12,
            message=first.message_id,
            last=last.message_id if last is not first else None,
            single=last is first and first.grouped_id is not None,
        ).url
