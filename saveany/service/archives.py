"""Archives: creating, showing, pausing, retrying, verifying and removing them."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from msgspec.structs import replace

from saveany.catalogue.archive_models import ArchivedMessage, ArchiveReceipt, MessageOutcome, MessagesPage
from saveany.config import Config, User
from saveany.errors import (
    Forbidden,
    InvalidInput,
    NeedsLogin,
    NotFound,
    TaskError,
    Unavailable,
    WrongState,
)
from saveany.planning.paths import folder as checked_folder
from saveany.planning.requests import TaskRequest, destination
from saveany.service.principal import Principal
from saveany.service.takeouts import end_takeout
from saveany.service.tasks import TaskService
from saveany.store import Store
from saveany.store.archives import Archive, is_channel
from saveany.telegram import links
from saveany.texts import Text, stored
from storages import registry

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue
    from saveany.telegram.accounts import Accounts
    from saveany.telegram.chat_state import ChatState
    from saveany.telegram.estimate import ChatEstimate

ArchiveState = Literal["reading", "following", "complete", "paused", "blocked"]

_MESSAGE = re.compile(r"[0-9]{1,10}")
#: A link for checking whether a user may have tasks for a storage and a folder.
_ANY_LINK = "https://t.me/c/1/1"
#: The first and the last date that Telegram takes, in ms since the epoch: dates outside stand for these.
_FIRST_DATE, _LAST_DATE = 1000, (2**31 - 1) * 1000
#: Number of messages that are retried at a time.
_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRequest:
    """A request for an archive."""

    chat: str  # @name, -100…, or a link; with an account also `me`, a person or a basic group
    user_id: int | None = None  # whose archive it is; None: the caller's own
    storage: str = ""  # "": the user's default
    folder: str = ""  # "": the user's default
    start: str = "first"  # first, now, the number of a message, or a date
    until: str = ""  # a date; "" if there is no end
    follow: bool = False
    filter: Mapping[str, Any] = field(default_factory=dict)  # fields of `saveany.filters.Filter`
    topics: bool = True  # whether each topic of a forum has a folder
    comments: bool = False  # whether the comments on the posts of a channel are saved
    comments_filter: Mapping[str, Any] = field(default_factory=dict)  # as `filter`, for the comments
    account: str = ""  # "": any that can read the chat
    on_duplicate: str = "link"
    copy: str = "auto"  # how files get into a chat of Telegram: auto, reference or bytes
    on_edit: str = "ignore"  # see `Archive.on_edit`
    extras: Sequence[str] = ()  # `saveany.models.ExtraFile` that are saved, too
    stories: bool = False  # whether the stories of a channel are saved, too
    profile_photos: bool = False  # whether the profile photos of the chat are saved, too
    takeout: bool = False  # whether it is read in a takeout, which Telegram answers faster
    text: bool = False  # whether the texts of all messages are saved, too
    paused: bool = False  # whether reading waits until the archive is resumed


@dataclass(frozen=True, slots=True)
class ArchiveEstimate:
    """What an archive of a whole chat would contain."""

    user_id: int
    chat: ChatState
    contents: ChatEstimate
    storage: str
    free: int | None  # bytes in the storage; None if that is not known


@dataclass(frozen=True, slots=True)
class ShownArchive:
    """An archive with its receipt."""

    archive: Archive
    receipt: ArchiveReceipt
    eta_seconds: int | None = None  # until all files that are known are saved; None if unknown

    @property
    def state(self) -> ArchiveState:
        """What the archive does at the moment."""
        archive = self.archive
        if archive.is_paused:
            return "paused"
        if archive.problem:
            return "blocked"
        if not archive.is_read or self.receipt[MessageOutcome.PENDING]:
            return "following" if archive.is_read and archive.start == "now" else "reading"
        return "following" if archive.follow else "complete"

    @property
    def unaccounted(self) -> int:
        """The number of messages that Telegram counts and the receipt does not; negative if it is the other
        way round."""
        return self.receipt.telegram_total - self.receipt.accounted


class ArchiveService:
    """The operations on archives. All of them raise `NotFound` for an archive that does not exist or belongs
    to another user, and `CatalogueUnavailable` or `StoreUnavailable` during an outage."""

    def __init__(
        self,
        config: Config,
        store: Store,
        catalogue: Catalogue,
        tasks: TaskService,
        accounts: Callable[[], Awaitable[Accounts]],
    ) -> None:
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._tasks = tasks
        self._accounts = accounts

    async def add(self, principal: Principal, request: ArchiveRequest) -> Archive:
        """Archive a chat. Raises `InvalidInput`, `Forbidden`, `NotFound` or `Unavailable` with the reason why
        it cannot be read, and `WrongState` if the user has the same archive or too many."""
        archive = await self.prepare(principal, request)
        await self.keep(archive)
        return archive

    async def prepare(self, principal: Principal, request: ArchiveRequest) -> Archive:
        """The archive that `add` would make. Raises as `add`."""
        user, state = await self._resolve(principal, request)
        await check_number(self._config, self._store, user.id)
        if request.comments and not state.discussion:
            raise InvalidInput("this chat has no comments: it is not a channel with a discussion", "comments")
        if request.on_edit != "ignore" and not is_channel(state.id):
            raise InvalidInput("edits can only be followed in channels and supergroups", "on_edit")
        only = (request.account,) if request.account else user.accounts
        with refusals():
            seen = await self._start(await self._accounts(), state, request.start, only)
            topic = await self._topic(await self._accounts(), state, request.chat, only)
        archive = replace(_new(request, user.id, state, seen), topic=topic)
        storage = self._config.storage(await self.storage_of(user, archive.storage))
        if storage and registry.capabilities(storage.type).ordered:  # a chat
            notice = archive.notice or stored(_protection(state, request.copy))
            archive = replace(archive, copy=request.copy, in_order=True, notice=notice)
        await _check_is_new(self._store, archive)
        return archive

    async def keep(self, archive: Archive) -> None:
        """Begin a prepared archive. Raises `WrongState` if the user has the same one by now."""
        await self._store.archives.add(archive)
        try:
            await _check_is_new(self._store, archive)  # the same request may have come twice at the same time
        except WrongState:
            await self._store.archives.remove(archive.id)
            raise

    async def estimate(self, principal: Principal, request: ArchiveRequest) -> ArchiveEstimate:
        """What the whole chat contains, and the free space in its storage. Raises as `add`."""
        user, state = await self._resolve(principal, request)
        with refusals():
            contents = await (await self._accounts()).history.estimate(state)
        storage = await self.storage_of(user, request.storage)
        result = await self._store.queries.send(storage, "usage", {})
        free = None if result.error else result.result.get("free")
        return ArchiveEstimate(user.id, state, contents, storage, free)

    async def _resolve(self, principal: Principal, request: ArchiveRequest) -> tuple[User, ChatState]:
        """The user of a new archive, and the chat."""
        user = await self._user(principal, request)
        personal = bool(request.account) and (principal.is_operator or request.account in user.accounts)
        named = links.any_chat_of if personal else links.chat_of
        chat = links.invite_of(request.chat) or named(request.chat)
        only = (request.account,) if request.account else user.accounts
        with refusals():
            history = (await self._accounts()).history
            return user, await history.chat_state(chat, only, personal=personal)

    async def storage_of(self, user: User, requested: str) -> str:
        """The storage of an archive for which this one was requested; "" stands for the user's default."""
        request = TaskRequest(links=(), storage=requested)
        preferences = await self._store.preferences.get(user.id)
        return destination(self._config, user, request, preferences)[0]

    async def _user(self, principal: Principal, request: ArchiveRequest) -> User:
        """The user of a new archive, who may save files where it is to be."""
        wanted = TaskRequest(
            links=[_ANY_LINK],
            user_id=request.user_id,
            storage=request.storage,
            folder=request.folder,
            type="tgfiles",
        )
        user_id = await self._tasks.check(principal, wanted)
        user = self._config.user(user_id)
        assert user is not None  # noqa: S101  # `check` raises for others
        if request.account and user.accounts and request.account not in user.accounts:
            raise Forbidden("you may not use the account {account}", account=request.account)
        return user

    async def _topic(self, accounts: Accounts, state: ChatState, link: str, only: Sequence[str]) -> int:
        """The topic of a forum that a link names; 0 if it names none."""
        part = links.part_of(link) if state.is_forum else 0
        if not part:
            return 0
        found = await accounts.history.topic_titles(
            state.id, [part], username=state.username, prefer=state.account, only=only
        )
        return part if part in found else 0

    async def _start(self, accounts: Accounts, state: ChatState, start: str, only: Sequence[str]) -> int:
        """The id of the last message before the archive."""
        if start == "now":
            return state.top
        if start == "first":
            return 0
        if _MESSAGE.fullmatch(start):
            return max(0, min(int(start), links.MAX_MESSAGE_ID) - 1)
        at = parse_date(start, "start")
        return await accounts.history.last_before(
            state.id, at, username=state.username, prefer=state.account, only=only
        )

    async def all(self, principal: Principal, user_id: int | None = None) -> list[ShownArchive]:
        """All archives that the principal may see, or those of a user, oldest first."""
        wanted = principal.visible_user(user_id)
        archives = await self._store.archives.all()
        return await self._shown([each for each in archives if wanted in (None, each.user_id)])

    async def get(self, principal: Principal, archive_id: str) -> ShownArchive:
        """An archive with its receipt."""
        (shown,) = await self._shown([await self.find(principal, archive_id)])
        return shown

    async def messages(
        self,
        principal: Principal,
        archive_id: str,
        outcomes: Sequence[MessageOutcome] = (),
        limit: int = 100,
        cursor: str = "",
    ) -> MessagesPage:
        """At most `limit` messages with files, those with these outcomes if any are given, after `cursor`.
        Raises `InvalidInput` for an invalid cursor."""
        await self.find(principal, archive_id)
        return await self._catalogue.receipts.messages(archive_id, outcomes, limit, cursor)

    async def pause(self, principal: Principal, archive_id: str) -> None:
        """Read no further messages until the archive is resumed. Tasks that exist continue."""
        archive = await self.find(principal, archive_id)
        await self._store.archives.change(archive_id, lambda now: replace(now, is_paused=True))
        if archive.takeout_id:
            history = (await self._accounts()).history
            await end_takeout(history, self._store.archives, archive, success=False, again=True)

    async def resume(self, principal: Principal, archive_id: str) -> None:
        """Continue a paused archive."""
        await self.find(principal, archive_id)
        await self._store.archives.change(archive_id, lambda now: replace(now, is_paused=False))
        await self._store.archives.wake()

    async def retry(self, principal: Principal, archive_id: str) -> int:
        """Save the messages again that have failed. Returns their number."""
        await self.find(principal, archive_id)
        count, cursor = 0, ""
        # Each of them once: some may fail again while others are reopened.
        while True:
            failed = [MessageOutcome.FAILED]
            page = await self._catalogue.receipts.messages(archive_id, failed, _BATCH, cursor)
            await self.reopen(archive_id, page.messages)
            count, cursor = count + len(page.messages), page.cursor
            if not cursor:
                return count

    async def remove(self, principal: Principal, archive_id: str) -> None:
        """End an archive, and have its receipt deleted. Files and tasks stay."""
        archive = await self.find(principal, archive_id)
        if archive.takeout_id:
            history = (await self._accounts()).history
            await end_takeout(history, self._store.archives, archive, success=False)
        await self._store.archives.remove(archive_id)

    async def reopen(self, archive_id: str, messages: Sequence[ArchivedMessage]) -> None:
        """Have these messages saved again."""
        if not messages:
            return
        await self._catalogue.receipts.reopen(archive_id, messages)
        await self._store.archives.change(
            archive_id, lambda now: replace(now, has_unassigned=True, completed_at=0)
        )
        await self._store.archives.wake()

    async def find(self, principal: Principal, archive_id: str) -> Archive:
        """An archive without its receipt."""
        archive = await self._store.archives.get(archive_id)
        if archive is None or not principal.may_access(archive.user_id):
            raise NotFound("there is no archive {id}", id=archive_id)
        return archive

    async def _shown(self, archives: Sequence[Archive]) -> list[ShownArchive]:
        receipts = await self._catalogue.receipts.get_many([each.id for each in archives])
        now = time.time_ns() // 1_000_000
        return [
            ShownArchive(each, receipts[each.id], _eta(each, receipts[each.id], now)) for each in archives
        ]


async def check_number(config: Config, store: Store, user_id: int, but: str = "") -> None:
    """Raise `WrongState` if a user has as many archives as are permitted, besides `but`."""
    changed = await store.settings.changed()
    most = changed.get("archives_per_user", config.limits.archives_per_user)
    archives = await store.archives.of_user(user_id)
    if most and sum(each.is_read_on and each.id != but for each in archives) >= most:
        raise WrongState(
            "this user has {count} archives and watched chats already, as many as the limit "
            "archives_per_user permits: end one, or raise the limit",
            count=most,
        )


@contextmanager
def refusals() -> Iterator[None]:
    """Raise errors of Telegram in this block as those of a request."""
    try:
        yield
    except NeedsLogin as error:
        raise WrongState(error.text) from error
    except TaskError as error:
        raise (Unavailable if error.retryable else NotFound)(error.text) from error


async def _check_is_new(store: Store, archive: Archive) -> None:
    """Raise `WrongState` if the user has the same archive already."""
    for each in await store.archives.of_user(archive.user_id):
        if each.id == archive.id:
            break  # those that follow are newer
        if is_same(each, archive):
            raise WrongState("this chat is archived already, as {id}", id=each.id)


def is_same(one: Archive, other: Archive) -> bool:
    """Whether two archives would save the same files."""
    names = ("chat", "topic", "filter", "storage", "folder")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def parse_date(text: str, field: str) -> int:
    """A date or time, in UTC unless it names a zone, in ms since the epoch. Raises `InvalidInput`."""
    try:
        moment = datetime.fromisoformat(text)
        return telegram_date(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidInput("write a date such as 2024-01-31, not {given!r}", field, given=text) from None


def telegram_date(moment: datetime) -> int:
    """A moment in ms since the epoch; before and after all dates that Telegram takes, the first and the last
    of them."""
    return min(max(int(moment.timestamp() * 1000), _FIRST_DATE), _LAST_DATE)


def _new(request: ArchiveRequest, user_id: int, state: ChatState, seen: int) -> Archive:
    return Archive(
        id=uuid4().hex[:10],
        user_id=user_id,
        chat=state.id,
        title=state.title,
        username=state.username,
        account=state.account,
        older_chat=0 if state.older_problem or seen else state.older_chat,
        older_account=(state.older_reader or state.account) if state.older_chat else "",
        by_topic=request.topics and state.is_forum,
        comments=request.comments,
        comments_filter=dict(request.comments_filter),
        discussion=state.discussion,
        extras=list(request.extras),
        takeout=request.takeout,
        text=request.text,
        stories=request.stories and is_channel(state.id),
        profile_photos=request.profile_photos,
        notice=stored(_notice(state)) if not seen else "",
        storage=request.storage,
        folder=checked_folder(request.folder) or ("/" if request.folder else ""),
        filter=dict(request.filter),
        start=request.start,
        until=parse_date(request.until, "until") if request.until else 0,
        follow=request.follow and not request.until,
        on_duplicate=request.on_duplicate,
        on_edit=request.on_edit,
        seen=seen,
        is_paused=request.paused,
        notify="none",
        created_at=time.time_ns() // 1_000_000,
    )


def _notice(state: ChatState) -> Text | None:
    """What of the chat cannot be part of its archive."""
    if not state.older_problem:
        return None
    return Text(
        "The messages from before this group became a supergroup are missing: the account {account} cannot "
        "read them ({reason}).",
        {"account": state.account, "reason": state.older_problem},
    )


def _protection(state: ChatState, copy: str) -> Text | None:
    """How the files of a chat are copied, if it is protected."""
    if not state.protected or copy == "bytes":
        return None
    if copy == "reference":
        return Text("Telegram protects this chat: its files may not be copied, and are left out.")
    return Text("Telegram protects this chat: its files are downloaded, and uploaded again.")


def _eta(archive: Archive, receipt: ArchiveReceipt, now: int) -> int | None:
    """Seconds until everything is read and saved, at the average speed so far."""
    done = receipt.accounted - receipt[MessageOutcome.PENDING]
    left = max(0, receipt.telegram_total - done)
    if not left or archive.completed_at or archive.start == "now":
        return 0 if archive.completed_at else None
    return round((now - archive.created_at) / 1000 * left / done) if done else None
