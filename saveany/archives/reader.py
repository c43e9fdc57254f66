"""Reads the chats of archives, and with them all watched chats: messages with files become tasks of the user.

A chat is read forward from the last handled message, not from pushed updates, so nothing is missed while this
process is not running. A push only says that it is time to read. A page is written to the receipt, with the
ids of its tasks, before the tasks are created, and those before its messages count as handled. So a crash in
between creates no second task.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace as replaced
from functools import partial
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from saveany.archives.changes import ChangedChats
from saveany.archives.comments import CommentReader
from saveany.archives.edits import EditReader
from saveany.archives.pages import EnoughPages, reading_ahead
from saveany.archives.posts import posts_in
from saveany.archives.profile_photos import ProfilePhotoReader
from saveany.archives.reports import ArchiveReports
from saveany.archives.saving import PageOfChat, PostSaver
from saveany.archives.stories import StoryReader
from saveany.archives.texts import TextWriter
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import Forbidden, NotFound, Retryable, SaveAnyError, TaskError, Unavailable
from saveany.logs import get_logger
from saveany.planning.names import safe_name
from saveany.service import TaskService
from saveany.service.takeouts import begin_takeout, end_takeout, note_ended
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts
from saveany.telegram.chat_tops import ChatTop
from saveany.telegram.history import MessagePage, ReadMessage
from saveany.telegram.takeout import Takeout, within
from saveany.texts import Text, loaded

#: Seconds between two checks of the archives.
_CHECK_SECONDS = 10.0
#: Seconds until a chat that could not be read is tried again, if the error does not say.
_RETRY_SECONDS = 60.0
#: Pages read from one chat before moving on to the next.
_MAX_PAGES = 50
#: Pages that are read ahead at most.
_AHEAD = 16
#: Queued tasks above which no more messages are read, so that an old chat cannot fill the memory of Redis.
_MAX_QUEUED = 2000
#: Seconds until the next check while the queue is full.
_QUEUE_SECONDS = 1.0
#: Seconds after which an album at the end of a chat is read again, and is complete if it has not grown.
_ALBUM_SECONDS = 1.0
#: For a chat whose newest message is unknown: an id above every message id.
_UNKNOWN = ChatTop(2**31)

_log = get_logger(__name__)


class ArchiveReader:
    """Turns the messages of all archived chats into tasks. One process at a time should run it."""

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        catalogue: Catalogue,
        tasks: TaskService,
        config: Config,
        *,
        check_seconds: float = _CHECK_SECONDS,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._archives = store.archives
        self._config = config
        self._saver = PostSaver(accounts, store, catalogue, tasks)
        self._comments = CommentReader(accounts, store, catalogue, self._saver, self._access)
        self._edits = EditReader(accounts, catalogue, store.archives)
        self._stories = StoryReader(accounts, catalogue, self._saver, self._access)
        self._photos = ProfilePhotoReader(accounts, catalogue, self._saver, self._access)
        self._texts = TextWriter(store, catalogue, config)
        self._reports = ArchiveReports(store, catalogue, config)
        self._check_seconds = check_seconds
        self._next_check = check_seconds  # seconds from the present check to the next one
        self._retry_at: dict[str, float] = {}  # id of an archive -> monotonic time of the next try
        self._growing: dict[str, int] = {}  # id of an archive -> last message of an incomplete album
        self._reconciled: set[str] = set()  # archives whose lost tasks were replaced
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by id of an archive
        #: Chats for which `read_changed` has something to do.
        self.changes = ChangedChats(accounts.history)

    async def check(self) -> float:
        """Check every archive once. Returns the seconds until the next check is due. Raises `Unavailable`,
        alone or in a group, during an outage."""
        now, self._next_check = time.monotonic(), self._check_seconds
        for removed in await self._archives.removed():
            async with self._locks[removed]:  # when nothing is written to its receipt any more
                await self._saver.forget(removed)
        archives = [each for each in await self._archives.all() if not each.is_paused]
        due = [each for each in archives if self._retry_at.get(each.id, 0) <= now and each.is_read_on]
        due.sort(key=lambda each: each.account)
        await self.changes.listen(due)
        for archive in [each for each in due if each.stories]:
            await self._try(archive, self._stories.check)
        async with asyncio.TaskGroup() as group:
            for account, its_archives in groupby(due, key=lambda each: each.account):
                group.create_task(self._check_account(account, list(its_archives)))
        for archive in await self._archives.all():
            if not archive.is_paused:
                await self._try_to_settle(archive.id)
        return self._next_check

    async def read_changed(self) -> None:
        """Read the chats that have something new, according to what Telegram has pushed. Raises as
        `check`."""
        new, edited = self.changes.take()
        now = time.monotonic()
        for archive in await self._archives.all():
            is_due = self._retry_at.get(archive.id, 0) <= now and archive.is_read_on
            if archive.is_paused or not is_due:
                continue
            if archive.chat in new:
                await self._try(archive, self._read)
            if archive.chat in edited and archive.on_edit == "add":
                await self._try(archive, self._read_edits)

    async def _check_account(self, account: str, archives: Sequence[Archive]) -> None:
        """Read the chats of one account that have new messages, with another account if this one cannot."""
        try:
            chats = {each.chat: each.username for each in archives}
            tops = await self._accounts.history.tops(account, chats)
        except Retryable as error:
            for archive in archives:
                self._retry_after(archive, error.after)
                await self._set_problem(archive, error.text)
            return
        except TaskError:
            tops = {}
        for archive in archives:
            await self._check_archive(archive, tops.get(archive.chat, _UNKNOWN))

    async def _check_archive(self, archive: Archive, top: ChatTop) -> None:
        """Read what is new in the chat of an archive, whose newest message is `top`."""
        if top.successor and not archive.older_chat:
            await self._archives.change(archive.id, partial(continued_in, top.successor))
            self._next_check = 0.0
            return
        if self._photos.is_due(archive, top.photo):
            await self._try(archive, partial(self._photos.check, current=top.photo))
            if self._photos.is_due(archive, top.photo):  # it failed: the archive must not become complete
                return
        if archive.on_edit == "add" and top.pts not in (0, archive.pts):
            await self._try(archive, partial(self._read_edits, pts=top.pts))
        if archive.older_chat or top.message > archive.seen:
            await self._try(archive, self._read)
            return
        if archive.comments:
            await self._try(archive, self._comments.check)
            return
        if archive.problem:
            await self._set_problem(archive, None)
        if not archive.is_read:
            await self._archives.change(archive.id, lambda now: replace(now, is_read=True))

    async def _read_edits(self, archive: Archive, pts: int = 0) -> None:
        """Read the edits, up to the event `pts` at least, or only from it on if none was read before."""
        await self._edits.check(archive, pts, self._access(archive, archive.chat))
        if changed := await self._archives.get(archive.id):
            await self._settle(changed)

    async def _try(self, archive: Archive, work: Callable[[Archive], Awaitable[None]]) -> None:
        """Do something for an archive, and store why that failed if it did."""
        async with self._locks[archive.id]:
            current = await self._archives.get(archive.id)
            if current is None or current.is_paused:
                return
            problem: Text | None = None
            is_reconciled = current.id in self._reconciled
            self._reconciled.discard(current.id)  # if this fails, tasks may be missing
            try:
                await work(current)
                self._reconciled |= {current.id} if is_reconciled else set()
            except Unavailable:
                raise
            except SaveAnyError as error:
                self._retry_after(current, error.after if error.retryable else _RETRY_SECONDS)
                problem = error.text
            except Exception:
                _log.exception("archive_failed", archive=current.id, chat=current.chat)
                self._retry_after(current, _RETRY_SECONDS)
                problem = Text("an unexpected error in SaveAny; see the log of the bot")
            if problem != loaded(current.problem):
                await self._set_problem(current, problem)

    def _retry_after(self, archive: Archive, seconds: float) -> None:
        self._retry_at[archive.id] = time.monotonic() + seconds

    async def _set_problem(self, archive: Archive, problem: Text | None) -> None:
        await self._archives.set_problem(archive.id, problem, time.time_ns() // 1_000_000)

    async def _read(self, archive: Archive) -> None:
        """Turn the messages after the last handled one into tasks, in a takeout if the archive wants one."""
        archive = await begin_takeout(self._accounts.history, self._archives, archive)
        takeout = Takeout(archive.takeout_account, archive.takeout_id) if archive.takeout_id else None
        with within(takeout):
            await self._read_pages(archive)
        if takeout and takeout.has_ended:
            await note_ended(self._archives, archive)

    async def _read_pages(self, archive: Archive) -> None:
        rest: list[ReadMessage] = []
        if not (free := await self._free()):
            return
        # What is read ahead and then not handled, because the queue is full, has to be read again.
        ahead = _AHEAD if free > _MAX_QUEUED // 2 else 1
        seen = place_of(archive)[1]
        try:
            async with reading_ahead(partial(self._page, archive), seen, ahead, _MAX_PAGES) as pages:
                page = await pages.next(rest)
                while len(page.messages) > 0:
                    changed, rest = await self._handle(archive, page)
                    if changed is None or changed == archive or changed.is_paused or not changed.is_read_on:
                        return
                    archive = changed
                    if not await self._free():
                        return
                    page = await pages.next(rest)
        except EnoughPages:
            self._next_check = 0.0
            return
        ended = await self._archives.change(archive.id, at_the_end)
        if ended and archive.older_chat and not ended.is_paused:
            await self._read(ended)

    async def _free(self) -> int:
        """The number of tasks for which the queue has room."""
        free = _MAX_QUEUED - (await self._store.tasks.counts())["queued"]
        if free <= 0:
            self._next_check = min(self._next_check, _QUEUE_SECONDS)
        return max(0, free)

    async def _page(self, archive: Archive, seen: int, on_reply: Callable[[int], None]) -> MessagePage:
        """The messages of the chat that is read now after `seen`, without those that are not part of the
        archive. `on_reply` is not called if they may be the last ones."""
        chat, _ = place_of(archive)
        access, history = self._access(archive, chat), self._accounts.history
        extras = archive.extras
        if archive.topic > 1:  # the messages of the first topic are not marked
            page = await history.comments_after(chat, archive.topic, seen, extras=extras, **access)
        else:
            early = None if archive.until else on_reply
            page = await history.messages_after(chat, seen, extras=extras, on_reply=early, **access)
        messages = page.messages
        if archive.until:
            messages = [each for each in messages if each.date_ms < archive.until]
        return replaced(page, messages=messages, is_last=len(messages) < len(page.messages))

    def _access(self, archive: Archive, chat: int) -> Any:
        """How a chat of an archive is found, and by which accounts. Raises `NotFound` and `Forbidden` if the
        user has lost the permission."""
        user = self._config.user(archive.user_id)
        if user is None:
            raise NotFound("there is no user {user}", user=archive.user_id)
        account = archive.reader_of(chat)
        if account and user.accounts and account not in user.accounts:
            raise Forbidden("you may not use the account {account}", account=account)
        only = (account,) if account else user.accounts
        return {"username": archive.username, "prefer": archive.account, "only": only}

    async def _handle(self, archive: Archive, page: MessagePage) -> tuple[Archive | None, list[ReadMessage]]:
        """Create the tasks of some pages. Returns the changed archive, None if it no longer exists, and the
        messages that must be handled together with the next page."""
        messages, last = self._complete_posts(archive, page)
        if not last:
            return archive, []
        chat, _ = place_of(archive)
        if archive.in_order and await self._saver.has_pending(archive, *place_of(archive)):
            self._next_check = min(self._next_check, _QUEUE_SECONDS)
            return archive, []
        if archive.by_topic and chat == archive.chat:
            archive = await self._with_topics(archive, messages)
        tasks = await self._saver.plan(archive, PageOfChat(chat, messages, last, page.total, page.reply))
        rest = page.messages[len(messages) :]
        for task in tasks:
            await self._saver.submit(archive, task)
            # Nobody is notified twice of a post because of a crash.
            if archive.notify != "none" and not await self._advance(archive, task.last, page):
                return None, []
        if archive.comments and not await self._comments.read(archive, messages):
            self._next_check = min(self._next_check, _QUEUE_SECONDS)
            return archive, []
        return await self._advance(archive, last, page), rest

    async def _with_topics(self, archive: Archive, messages: Sequence[ReadMessage]) -> Archive:
        """The archive with a folder for each topic of these messages. A topic that is renamed keeps its
        folder."""
        topics = {post.topic for post in posts_in(messages)}
        missing = [each for each in sorted(topics) if str(each) not in archive.topics]
        if not missing:
            return archive
        access = self._access(archive, archive.chat)
        titles = await self._accounts.history.topic_titles(archive.chat, missing, **access)
        changed = await self._archives.change(archive.id, partial(with_folders, missing, titles))
        return changed or archive

    async def _advance(self, archive: Archive, last: int, page: MessagePage) -> Archive | None:
        """Messages up to `last` are handled. Returns as `Archives.change`."""
        if archive.older_chat:
            return await self._archives.advance(archive.id, last, older=True)
        return await self._archives.advance(archive.id, last, account=page.account, username=page.username)

    def _complete_posts(self, archive: Archive, page: MessagePage) -> tuple[list[ReadMessage], int]:
        """The messages of a page without those of an album that may go on in the next page, and the id of the
        last one.

        An album at the end of the chat may still be growing: it is left out until it is unchanged when it is
        read again.
        """
        posts = posts_in(page.messages)
        if not posts or not posts[-1].is_album or posts[-1].last != page.last:
            return page.messages, page.last
        first = posts[-1].first
        if before := [each for each in page.messages if each.id < first]:
            return before, first - 1
        if self._growing.get(archive.id) == page.last:
            return page.messages, page.last
        self._growing[archive.id] = page.last
        asyncio.get_running_loop().call_later(_ALBUM_SECONDS, self.changes.add, archive.chat)
        return [], 0

    async def _try_to_settle(self, archive_id: str) -> None:
        """`_settle`, or store why that failed. It waits while the chat is read: tasks that the receipt names
        are not created yet then."""
        async with self._locks[archive_id]:
            archive = await self._archives.get(archive_id)
            if archive is None or archive.is_paused:
                return
            try:
                await self._settle(archive)
            except Unavailable:
                raise
            except SaveAnyError as error:
                await self._set_problem(archive, error.text)
            except Exception:
                _log.exception("archive_not_settled", archive=archive.id)

    async def _settle(self, archive: Archive) -> None:
        """Replace tasks that were lost, save what failed again if that was asked for, and report."""
        if archive.has_unassigned or archive.id not in self._reconciled:
            if archive.id not in self._reconciled and (archive.follow or not archive.completed_at):
                await self._saver.replace_lost(archive, *place_of(archive))
            await self._saver.assign(archive)
            self._reconciled.add(archive.id)
        if archive.text and (archive.follow or not archive.completed_at):
            archive = await self._texts.write(archive)
        await self._reports.report(archive)
        if archive.takeout_id and archive.is_read and not await self._saver.has_pending(archive, 0, 0):
            await end_takeout(self._accounts.history, self._archives, archive, success=True)


def place_of(archive: Archive) -> tuple[int, int]:
    """The chat that is read now, and the last message that was handled there."""
    if archive.older_chat:
        return archive.older_chat, archive.older_seen
    return archive.chat, archive.seen


def continued_in(supergroup: int, archive: Archive) -> Archive:
    """The archive of a basic group that became a supergroup (marked id): what is left of the group first,
    then the supergroup from its beginning."""
    return replace(
        archive,
        chat=supergroup,
        seen=0,
        older_chat=archive.chat,
        older_seen=archive.seen,
        older_account=archive.account,
    )


def with_folders(topics: Sequence[int], titles: Mapping[int, str], archive: Archive) -> Archive:
    """The archive with folders for these topics. Two topics with one title have different folders."""
    folders = dict(archive.topics)
    for topic in topics:
        if str(topic) in folders:
            continue
        name = safe_name(titles.get(topic, "") or ("General" if topic == 1 else f"topic {topic}"))
        taken = {each.casefold() for each in folders.values()}
        folders[str(topic)] = safe_name(f"{name} ({topic})") if name.casefold() in taken else name
    return replace(archive, topics=folders)


def at_the_end(archive: Archive) -> Archive:
    """The archive after the end of the chat that is read now."""
    return replace(archive, older_chat=0) if archive.older_chat else replace(archive, is_read=True)
