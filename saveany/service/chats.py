"""Looks into chats: which there are, the files in their messages, and what rules would do with them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from saveany.config import Config, User
from saveany.errors import Forbidden, NotFound, TaskError, TooMany
from saveany.filters import Filter
from saveany.ids import new_id
from saveany.models import Rule, TaskSpec
from saveany.planning.messages import Albums
from saveany.planning.plan import plan, rule_for
from saveany.planning.requests import chosen_storage
from saveany.planning.rules import format_rule
from saveany.preferences import Preferences
from saveany.service.archives import refusals, telegram_date
from saveany.service.principal import Principal
from saveany.store.archives import is_channel
from saveany.telegram import links

if TYPE_CHECKING:
    from saveany.telegram.accounts import Accounts
    from saveany.telegram.chat_state import ChatState
    from saveany.telegram.dialogs import Dialog
    from saveany.telegram.history import MessagePage, ReadMessage
    from saveany.telegram.media import Media

T = TypeVar("T")

#: Pages of 100 messages that one request reads at most while a filter accepts none of their files.
_MAX_PAGES = 5
#: Seconds between attempts to read on while Telegram does not reply.
_PAUSES = (1.0, 5.0, 15.0, 30.0)
#: Exports that run at the same time in this process: of one user, and of all. Each keeps an account busy.
_MAX_EXPORTS_OF_USER, _MAX_EXPORTS = 2, 8
#: Number of messages on which rules are tried.
TRIED_MESSAGES = 50


@dataclass(frozen=True, slots=True)
class ChatFile:
    """A file in a message."""

    message: int
    name: str
    kind: str
    size: int
    date_ms: int
    text: str  # of the message or the album
    link: str  # with which it can be saved; "" for private chats, whose messages have none


@dataclass(frozen=True, slots=True)
class ChatFiles:
    """Files of a chat, newest first."""

    state: ChatState
    files: list[ChatFile]
    withheld: int  # messages with files that cannot be saved
    before: int  # the message before which the next page begins; 0 at the end


@dataclass(frozen=True, slots=True)
class TriedFile:
    """Where a file of a message would be saved."""

    message: int
    name: str
    size: int
    rule: str  # the one that applies; "" if none does
    storage: str
    path: str


@dataclass(frozen=True, slots=True)
class ChatExport:
    """The files of a chat, page by page. It counts as running until it is closed, which may be repeated."""

    pages: AsyncIterator[list[ChatFile]]
    close: Callable[[], None]


class ChatService:
    """Reads chats with the user accounts. Everything raises `Forbidden` for an account that the principal may
    not use, and `NotFound`, `WrongState` or `Unavailable` with the reason why a chat cannot be read."""

    def __init__(self, config: Config, accounts: Callable[[], Awaitable[Accounts]]) -> None:
        self._config = config
        self._accounts = accounts
        self._exports = Counter[int]()  # that are running, by user

    async def dialogs(self, principal: Principal, account: str) -> list[Dialog]:
        """The chats of an account, those with the newest messages first; "" means the first account of the
        principal, who may have none."""
        if not account and not principal.is_operator:
            user = self._config.user(principal.user_id or 0)
            account = next(iter(user.accounts if user else ()), "")
            if not account:
                return []
        self._check_own(principal, account)
        with refusals():
            return await (await self._accounts()).history.dialogs(account)

    async def files(
        self, principal: Principal, user: User, chat: str, account: str, wanted: Filter, before: int
    ) -> ChatFiles:
        """The files that pass the filter in the messages before the message `before`, or in the newest."""
        state, only = await self._open(principal, user, chat, account)
        with refusals():
            history = (await self._accounts()).history
            if not before and wanted.before:
                date_ms = telegram_date(wanted.before)
                before = 1 + await history.last_before(
                    state.id, date_ms, username=state.username, prefer=state.account, only=only
                )
            files: list[ChatFile] = []
            withheld = 0
            for _ in range(_MAX_PAGES):
                page = await history.messages_before(
                    state.id, before, username=state.username, prefer=state.account, only=only
                )
                before = page.messages[0].id if page.messages else 0
                files += _accepted(page.media, wanted)[::-1]
                withheld += sum(each.problem is not None for each in page.messages)
                if files or before <= 1 or _is_older(page, wanted):
                    break
            if before <= 1 or _is_older(page, wanted):
                before = 0
        return ChatFiles(state, files, withheld, before)

    async def export(
        self, principal: Principal, user: User, chat: str, account: str, wanted: Filter, seen: int, last: int
    ) -> ChatExport:
        """All files that pass the filter in the messages after `seen` up to `last` (0: the newest of now),
        oldest first, page by page. If Telegram demands a wait or cannot be reached, the next page comes
        later; if the chat cannot be read any more, the pages end with a `TaskError`. Raises `TooMany`."""
        with ExitStack() as running:
            running.enter_context(self._counted(user.id))
            pages = await self._pages(principal, user, chat, account, wanted, seen, last)
            return ChatExport(pages, running.pop_all().close)

    @contextmanager
    def _counted(self, user_id: int) -> Iterator[None]:
        for count, maximum in (
            (self._exports[user_id], _MAX_EXPORTS_OF_USER),
            (self._exports.total(), _MAX_EXPORTS),
        ):
            if count >= maximum:
                raise TooMany(
                    "{count} chats are being exported; try again when one export is complete",
                    maximum,
                    count=count,
                )
        self._exports[user_id] += 1
        try:
            yield
        finally:
            self._exports[user_id] -= 1

    async def _pages(
        self, principal: Principal, user: User, chat: str, account: str, wanted: Filter, seen: int, last: int
    ) -> AsyncIterator[list[ChatFile]]:
        state, only = await self._open(principal, user, chat, account)
        with refusals():
            history = (await self._accounts()).history
            if wanted.after:
                date_ms = telegram_date(wanted.after)
                found = await history.last_before(
                    state.id, date_ms, username=state.username, prefer=state.account, only=only
                )
                seen = max(seen, found)
        last = min(last or state.top, state.top)

        async def pages() -> AsyncIterator[list[ChatFile]]:
            after = seen
            held: tuple[Media, ...] = ()  # the album at the end of the page before
            while after < last:
                page = await _patiently(
                    partial(
                        history.messages_after,
                        state.id,
                        after,
                        username=state.username,
                        prefer=state.account,
                        only=only,
                    )
                )
                messages = [each for each in page.messages if each.id <= last]
                is_last = len(messages) < len(page.messages) or not messages or _is_newer(messages, wanted)
                after = last if is_last else messages[-1].id
                media = (*held, *(each for message in messages for each in message.media))
                held = () if after >= last else _album_at_the_end(media)
                yield _accepted(media[: len(media) - len(held)], wanted)

        return pages()

    async def try_rules(
        self,
        principal: Principal,
        user: User,
        preferences: Preferences,
        rules: Sequence[Rule],
        chat: str,
        account: str,
    ) -> list[TriedFile]:
        """Where the files in the newest messages of a chat would be saved with these rules, newest first."""
        state, only = await self._open(principal, user, chat, account)
        with refusals():
            history = (await self._accounts()).history
            page = await history.messages_before(
                state.id, 0, username=state.username, prefer=state.account, only=only
            )
        media = [each for message in page.messages[-TRIED_MESSAGES:] for each in message.media]
        spec = TaskSpec(
            id=new_id(),
            type="tgfiles",
            links=(),
            user_id=user.id,
            storage=preferences.storage or chosen_storage(self._config, user, ""),
            path=preferences.folder,
            template=preferences.template,
            rules=tuple(rules),
        )
        albums = Albums(media)
        found = [albums.resolved(each) for each in media]
        tried = []
        for each, file, item in zip(media, found, plan(spec, found), strict=True):
            rule = rule_for(spec, file, item.index)
            tried.append(
                TriedFile(
                    message=each.message_id,
                    name=item.name,
                    size=each.size,
                    rule=format_rule(rule) if rule else "",
                    storage=item.storage or spec.storage,
                    path=item.path,
                )
            )
        return tried[::-1]

    async def _open(
        self, principal: Principal, user: User, chat: str, account: str
    ) -> tuple[ChatState, Sequence[str]]:
        """A chat, and the accounts that may read it for the user."""
        if account:
            self._check_own(principal, account)
        named = links.any_chat_of if account else links.chat_of
        wanted = links.invite_of(chat) or named(chat)
        only = (account,) if account else user.accounts
        with refusals():
            history = (await self._accounts()).history
            return await history.chat_state(wanted, only, personal=bool(account)), only

    def _check_own(self, principal: Principal, account: str) -> None:
        """Private chats are shown to operators, and to users to whom the configuration gives the account."""
        user = self._config.user(principal.user_id) if principal.user_id else None
        if not principal.is_operator and not (user and account in user.accounts):
            raise Forbidden("you may not use the account {account}", account=account)
        if account == "bot":
            raise NotFound("The bot cannot list its chats. Choose a user account.")


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` returns, once Telegram does not demand a wait. Other errors are raised if they do not
    pass."""
    failures = 0
    while True:
        try:
            return await read()
        except TaskError as error:
            failures += not error.after
            if not error.retryable or failures > len(_PAUSES):
                raise
            await asyncio.sleep(error.after or _PAUSES[failures - 1])


def _album_at_the_end(media: Sequence[Media]) -> tuple[Media, ...]:
    """The files of the album at the end, which may have more of them."""
    album = media[-1].grouped_id if media else None
    return tuple(each for each in media if each.grouped_id == album) if album else ()


def _is_newer(messages: Sequence[ReadMessage], wanted: Filter) -> bool:
    """Whether everything after these messages is newer than what is wanted."""
    return bool(wanted.before and messages[-1].date_ms >= wanted.before.timestamp() * 1000)


def _accepted(media: Sequence[Media], wanted: Filter) -> list[ChatFile]:
    """Those of some files that pass the filter."""
    albums = Albums(media)
    return [
        ChatFile(
            message=each.message_id,
            name=albums.resolved(each).name,
            kind=each.kind,
            size=each.size,
            date_ms=each.date_ms,
            text=albums.with_text(each).caption,
            link=links.message_link(each.chat_id, each.message_id) if is_channel(each.chat_id) else "",
        )
        for each in media
        if wanted.accepts(albums.with_text(each))
    ]


def _is_older(page: MessagePage, wanted: Filter) -> bool:
    """Whether everything before the page is older than what is wanted."""
    return bool(wanted.after and page.messages and page.messages[0].date_ms < wanted.after.timestamp() * 1000)
