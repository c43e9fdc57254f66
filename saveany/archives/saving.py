"""Turns posts of an archived chat into tasks, and notes them in its receipt first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from msgspec.structs import replace as changed

from saveany.archives.adopting import Adopter
from saveany.archives.posts import Post, comment_link, link_to, links_to, posts_in
from saveany.catalogue.archive_models import (
    PROFILE_PHOTOS,
    STORIES,
    ArchivedMessage,
    MessageOutcome,
    ReadPage,
    comments_key,
)
from saveany.catalogue.catalogue import Catalogue
from saveany.filters import Filter
from saveany.ids import new_id
from saveany.models import OnDuplicate
from saveany.service import Principal, TaskRequest, TaskService
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts
from saveany.telegram.history import ReadMessage
from saveany.telegram.records import records_of

#: Number of messages that get new tasks at a time.
_BATCH = 100


@dataclass(frozen=True, slots=True)
class PageOfChat:
    """Consecutive messages of a chat that are handled together."""

    chat: int  # marked
    messages: Sequence[ReadMessage]
    last: int  # id of the last message
    total: int  # number of messages of the chat, according to Telegram
    reply: Any = None  # of Telegram, with the authors
    post: int = 0  # the post of a channel that they are comments on; then `chat` is the discussion group

    kind: Literal["messages", "stories", "profile_photos"] = "messages"

    @property
    def key(self) -> int:
        """Under which the receipt counts them."""
        if self.kind != "messages":
            return STORIES if self.kind == "stories" else PROFILE_PHOTOS
        return comments_key(self.post) if self.post else self.chat


@dataclass(frozen=True, slots=True)
class ArchiveTask:
    """A task for some files of a post."""

    id: str
    links: list[str]
    last: int  # id of the last message of the post
    chat: int  # marked
    username: str = ""  # of the chat
    topic: int = 0  # as in `ArchivedMessage`


class PostSaver:
    """Creates the tasks of archives."""

    def __init__(self, accounts: Accounts, store: Store, catalogue: Catalogue, tasks: TaskService) -> None:
        self._store = store
        self._catalogue = catalogue
        self._tasks = tasks
        self._adopter = Adopter(accounts, store, catalogue)

    async def plan(self, archive: Archive, page: PageOfChat) -> list[ArchiveTask]:
        """Note the messages of a page in the receipt. Returns the tasks that it needs: if the page was read
        before, some may exist already."""
        receipts = self._catalogue.receipts
        posts = posts_in(page.messages)
        wanted = Filter.model_validate(archive.comments_filter if page.post else archive.filter)
        common = new_id() if archive.in_order else ""
        planned = [row for post in posts for row in _rows(archive, page, post, wanted, common)]
        if archive.adopts:
            planned = await self._adopter.adopt(archive, page.chat, posts, planned)
        plain = [each.id for each in page.messages if not each.has_media]
        texts = records_of(page.messages, page.reply, page.post) if archive.text else {}
        of_page = ReadPage(page.key, page.last, page.total, planned, plain, texts, page.chat)
        await receipts.write(archive.id, of_page)
        if not any(each.task_id for each in planned):
            return []
        # Also what another process has noted, or this one before a crash.
        noted = await receipts.known(archive.id, page.chat, planned[0].message, planned[-1].message)
        tasks = chain.from_iterable(_tasks(archive, page, post, wanted, noted) for post in posts)
        return _joined(tasks) if archive.in_order else list(tasks)

    async def has_pending(self, archive: Archive, chat: int, last: int) -> bool:
        """Whether any message waits to be saved, besides those of `chat` after `last`."""
        return bool(await self._catalogue.receipts.pending_tasks(archive.id, chat, last))

    async def submit(self, archive: Archive, task: ArchiveTask) -> None:
        """Create a task, unless it exists."""
        request = TaskRequest(
            id=task.id,
            links=task.links,
            type="tgfiles",
            storage=archive.storage,
            folder=archive.folder,
            subfolder=archive.subfolder(task.chat, task.topic),
            on_duplicate=OnDuplicate(archive.on_duplicate) if archive.on_duplicate else None,
            params=_params(archive, task),
            archive_id=archive.id,
            account=archive.reader_of(task.chat),
        )
        accepted = await self._tasks.submit(Principal(archive.user_id), request)
        if archive.notify != "none":
            await self._store.archives.add_task(accepted.id, archive.id)

    async def replace_lost(self, archive: Archive, chat: int, last: int) -> None:
        """Have the messages of tasks that are neither in Redis nor in the catalogue saved by new ones.
        Messages of `chat` after `last` were not handled yet."""
        receipts = self._catalogue.receipts
        pending = await receipts.pending_tasks(archive.id, chat, last)
        missing = [each for each in pending if not await self._exists(each)]
        if missing:
            still_pending = set(await receipts.pending_tasks(archive.id, chat, last))
            await receipts.drop_tasks(archive.id, [each for each in missing if each in still_pending])

    async def _exists(self, task_id: str) -> bool:
        return await self._store.tasks.exists(task_id)

    async def assign(self, archive: Archive) -> None:
        """Create tasks for the pending messages that have none."""
        receipts = self._catalogue.receipts
        while found := await receipts.unassigned(archive.id, _BATCH):
            assigned = [replace(each, task_id=new_id()) for each in found]
            for each in await receipts.assign(archive.id, assigned):
                links = [_link(archive, each.chat, each.topic, each.message)]
                where = each.chat, archive.username, each.topic
                await self.submit(archive, ArchiveTask(each.task_id, links, each.message, *where))
        if archive.has_unassigned:
            await self._store.archives.change(archive.id, lambda now: changed(now, has_unassigned=False))

    async def forget(self, archive_id: str) -> None:
        """Delete the receipt of an archive that was removed."""
        if await self._store.archives.get(archive_id) is None:
            await self._catalogue.receipts.remove(archive_id)
        await self._store.archives.forget(archive_id)


def _params(archive: Archive, task: ArchiveTask) -> dict[str, Any]:
    named: dict[str, Any] = {"username": task.username, "copy": archive.copy, "extras": archive.extras}
    if archive.takeout_id:
        named["takeout"] = [archive.takeout_account, archive.takeout_id]
    return {name: value for name, value in named.items() if value}


def _joined(tasks: Iterable[ArchiveTask]) -> list[ArchiveTask]:
    """The tasks, those with the same id as one."""
    joined: dict[str, ArchiveTask] = {}
    for task in tasks:
        if before := joined.get(task.id):
            task = replace(task, links=[*before.links, *task.links])
        joined[task.id] = task
    return list(joined.values())


def _link(archive: Archive, chat: int, topic: int, message: int) -> str:
    """A link to a message of an archive."""
    if archive.comments and chat == archive.discussion:
        return comment_link(archive.chat, topic, message)
    return link_to(chat, message)


def _topic(archive: Archive, page: PageOfChat, post: Post) -> int:
    """The `ArchivedMessage.topic` of the messages of a post."""
    if page.kind == "profile_photos":
        return 0
    if archive.comments:
        return page.post or post.first
    return post.topic if archive.by_topic else 0


def _rows(
    archive: Archive, page: PageOfChat, post: Post, wanted: Filter, common: str
) -> Iterator[ArchivedMessage]:
    """The messages of a post as they are noted at first. `common` is the task of all posts of the page; "" if
    each has one."""
    is_elsewhere = archive.topic and post.topic != archive.topic
    chosen = set() if is_elsewhere else {media.message_id for media in post.wanted(wanted)}
    task_id = (common or new_id()) if chosen else ""
    for message in post.messages:
        fields: dict[str, Any] = {
            "chat": page.chat,
            "message": message.id,
            "edited_at": message.edited_ms,
            "topic": _topic(archive, page, post),
            "size": sum(media.size for media in message.media),
        }
        if message.problem:
            yield ArchivedMessage(outcome=_outcome(message), reason=message.problem, **fields)
        elif message.id in chosen:
            yield ArchivedMessage(outcome=MessageOutcome.PENDING, task_id=task_id, **fields)
        else:
            yield ArchivedMessage(outcome=MessageOutcome.FILTERED, **fields)


def _outcome(message: ReadMessage) -> MessageOutcome:
    if message.is_locked:
        return MessageOutcome.LOCKED
    return MessageOutcome.EXPIRED if message.is_expired else MessageOutcome.FAILED


def _tasks(
    archive: Archive, page: PageOfChat, post: Post, wanted: Filter, noted: Mapping[int, ArchivedMessage]
) -> Iterable[ArchiveTask]:
    """The task of a post, with the id that the receipt names; none if it has ended."""
    pending = {
        message: row.task_id
        for message, row in noted.items()
        if row.outcome is MessageOutcome.PENDING and row.task_id and post.first <= message <= post.last
    }
    files = [each for each in post.wanted(wanted) if each.message_id in pending]
    for task_id in dict.fromkeys(pending[each.message_id] for each in files):
        of_task = [each for each in files if pending[each.message_id] == task_id]
        topic, first = _topic(archive, page, post), of_task[0]
        links, username = links_to(of_task), first.chat_username
        if page.post:
            links = [comment_link(archive.chat, page.post, each.message_id) for each in of_task]
            username = archive.username
        if page.kind != "messages":
            links = [link_to(archive.chat, each.message_id) for each in of_task]
        yield ArchiveTask(task_id, links, post.last, first.chat_id, username, topic)
