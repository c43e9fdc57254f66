"""The interface of this package for the rest of the project: files and messages by means of any account."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from telethon import utils
from telethon.tl import types

from saveany.advice import command
from saveany.errors import InvalidInput, NeedsLogin, Permanent, TaskError
from saveany.loops import Signal
from saveany.store.telegram import TelegramStore
from saveany.telegram.account_set import AccountSet
from saveany.telegram.chats import ChatFinder
from saveany.telegram.client import MtprotoClient
from saveany.telegram.downloader import Downloader, PieceHash, Range, Write
from saveany.telegram.errors import translated
from saveany.telegram.file import OnWait, PhotoSizeMismatch
from saveany.telegram.history import ChatHistory
from saveany.telegram.links import MessageLink, parse
from saveany.telegram.livestream import LiveCall, LivePart, NotLive, StreamReader, find_call, ordinary_call
from saveany.telegram.media import Media, thumbnail_of
from saveany.telegram.messages import FilesWithheld
from saveany.telegram.pool import ConnectionPool, PoolLimits
from saveany.telegram.refusals import LOGIN, combined_error, no_account
from saveany.telegram.session import SessionFolder
from saveany.telegram.settings import TelegramTable
from saveany.texts import Text

#: How far before the newest part the parts of a stream begin.
_BACK_MS = 15_000

_NUMBER = re.compile(r"-?\d+", re.ASCII)


class Accounts:
    """All accounts of a process. Start it once per process and close it at the end."""

    def __init__(
        self,
        table: TelegramTable,
        data_dir: Path,
        store: TelegramStore | None = None,
        *,
        proxy: str = "",
        limits: PoolLimits | None = None,
    ) -> None:
        folder = SessionFolder(data_dir)
        #: Sent when it may have changed which accounts can be used.
        self.changed = Signal()
        self._accounts = AccountSet(
            table, folder, store, proxy, lambda name: self._downloader.forget(name), self.changed
        )
        self._downloader = Downloader(
            self._accounts.client, folder, self._read_again, self._find_elsewhere, limits, store
        )
        self.history = ChatHistory(self._accounts)

    async def start(self) -> None:
        """Log in with all stored logins; see `AccountSet.start`."""
        await self._accounts.start()

    async def close(self) -> None:
        """Close all connections. The logins stay valid."""
        await self._accounts.stop()
        await self._downloader.close()
        await self._accounts.close()

    @property
    def ready(self) -> list[str]:
        """Names of the accounts that can be used now, the bot first."""
        return [each.name for each in self._accounts if each.ready]

    @property
    def problems(self) -> dict[str, Text]:
        """Account -> why it cannot be used, and what to do; for all accounts that are not ready."""
        if not self._accounts:
            return {"telegram": no_account()}
        return {each.name: each.problem.text for each in self._accounts if each.problem}

    # Files.

    async def resolve(
        self,
        link: MessageLink,
        only: Sequence[str] = (),
        *,
        username: str = "",
        extras: Collection[str] | None = None,
    ) -> list[Media]:
        """The files that a link leads to; those of an album in order.

        `only` are the accounts that may read it, now and later; if empty, all. `username` is a username of
        the chat, for accounts that do not know its id. `extras` are as for `MessageReader.resolve`.

        Raises `Permanent` (the message does not exist or has no file, or no account can see it), `Retryable`
        (flood wait of `after` seconds, network) or `NeedsLogin`; each states the reason and what to do.
        """
        try:
            # What was sent to the bot is read without `only`; other private chats by the one account of it.
            own = bool(link.bot_chat_id and only)
            found = await self._accounts.first(
                lambda reader: reader.resolve(link, username, own=own, extras=extras), only=only
            )
        except FilesWithheld as withheld:
            if not withheld.rest:
                raise
            found = withheld.rest  # the visible files of a range
        return [replace(media, only=tuple(only)) for media in found] if only else found

    async def find(self, source: Mapping[str, Any], prefer: str = "", without: Collection[str] = ()) -> Media:
        """The file of `Media.source`, read again by any account that can: `prefer` first, and none of
        `without`. Raises as `resolve` does, and `Permanent` if the message was deleted or has another file
        now."""
        only = tuple(source.get("only", ()))
        found = await self._accounts.first(lambda reader: reader.find(source), prefer, without, only=only)
        return replace(found, only=only) if only else found

    async def download(
        self, media: Media, write: Write, *, have: Sequence[Range] = (), on_wait: OnWait | None = None
    ) -> None:
        """Pass the bytes of a file to `write(offset, data)`; see `Downloader.download`.

        A dead login raises `Retryable` if another account is ready or the bot can log in again.
        """
        async with self._accounts.login_checked(media.account):
            await self._downloader.download(media, write, have=have, on_wait=on_wait)

    async def read(self, media: Media, offset: int, length: int) -> AsyncGenerator[bytes | memoryview, None]:
        """The bytes of a file from `offset` on, at most `length`, in order; see `Downloader.read`.

        Raises as `download` does. To stop early, close the iterator (`contextlib.aclosing`).
        """
        async with (
            self._accounts.login_checked(media.account),
            aclosing(self._downloader.read(media, offset, length)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def hashes(self, media: Media) -> list[PieceHash] | None:
        """Telegram's SHA-256 of all pieces of a file; see `Downloader.hashes`."""
        async with self._accounts.login_checked(media.account):
            return await self._downloader.hashes(media)

    def limit_memory(self, maximum: int) -> None:
        """Limit the bytes in flight of all downloads together from now on; 0 removes the limit."""
        self._downloader.memory = maximum or sys.maxsize

    async def thumbnail(self, media: Media) -> bytes | None:
        """Telegram's own small JPEG picture of a file; None if there is none. Raises as `download` does."""
        picture = thumbnail_of(media)
        if picture is None:
            return None
        try:
            return await self._read_all(picture)
        except PhotoSizeMismatch as error:
            return await self._read_all(replace(picture, size=error.size))

    async def _read_all(self, media: Media) -> bytes:
        async with aclosing(self.read(media, 0, media.size)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _read_again(self, media: Media) -> Media:
        return _same_part(media, await self.find(media.source(), prefer=media.account))

    async def _find_elsewhere(self, media: Media, without: Collection[str]) -> Media | None:
        """The same file as another account sees it. File references and access hashes are valid for one
        account only, so the other account reads the message again."""
        try:
            return _same_part(media, await self.find(media.source(), without=without))
        except TaskError:
            return None

    # Sending.

    def sender(self, name: str = "", *, user: bool = False) -> str:
        """The account of that name; without a name the first that is configured, or the first user.

        The choice does not depend on which accounts are ready: a second account would send again what the
        first has sent. Raises `Retryable`, `NeedsLogin` or `Permanent` if the account cannot be used.
        """
        if not self._accounts:
            raise NeedsLogin(no_account())
        for account in self._accounts:
            if account.name == name if name else not (user and account.is_bot):
                if account.problem:
                    raise combined_error({account.name: account.problem})
                return account.name
        if name:
            names = ", ".join(each.name for each in self._accounts)
            raise Permanent(
                'There is no Telegram account "{name}". Accounts: {names}.', name=name, names=names
            )
        raise NeedsLogin("A bot has no Saved Messages. Log in a user: {command}", command=command(LOGIN))

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[MtprotoClient]:
        """The control connection of an account. Translates Telethon's errors; an account whose login is dead
        is not used any more."""
        client = self.client(name)
        async with self._accounts.login_checked(name):
            with translated(name, is_bot=client.is_bot):
                yield client

    def client(self, name: str) -> MtprotoClient:
        """The control connection of an account. Raises `Retryable` if the account is not ready."""
        return self._accounts.client(name)

    def pool(self, name: str) -> ConnectionPool:
        """The connections of an account to its home data center that carry parts of files."""
        return self._downloader.pool(name, self.client(name).home_dc)

    async def live_call(self, name: str, chat: str) -> LiveCall | None:
        """The stream or the call of a channel or group; None if there is none. Raises as `resolve` does."""
        peer = await self.peer(name, chat)
        if not isinstance(peer, types.InputPeerChannel):
            raise Permanent("only channels and groups can be recorded")
        async with self.using(name) as client:
            return await find_call(client, types.InputChannel(peer.channel_id, peer.access_hash))

    async def live_parts(
        self, name: str, chat: str, call: int = 0, after_ms: int | None = None
    ) -> AsyncGenerator[LivePart, None]:
        """The parts of the stream with the id `call`, or of the one that is live for 0, after a time. Without
        it, they begin some seconds ago: a stream is noticed only after it has begun. Raises `NotLive` if it
        has ended, and as `livestream`. To stop early, close the iterator (`contextlib.aclosing`)."""
        async with self.using(name):
            reader = await self.livestream(name, chat)
            if call not in (0, reader.call.id):
                raise NotLive("the stream has ended")
            async with aclosing(reader.parts(after_ms, back_ms=_BACK_MS)) as parts:
                async for part in parts:
                    yield part

    async def livestream(self, name: str, chat: str) -> StreamReader:
        """The stream of a channel or group that is live. Raises `NotLive`, `Permanent` for a call that is
        no stream, and as `resolve` does."""
        call = await self.live_call(name, chat)
        if call is None:
            raise NotLive("the chat is not live")
        if not call.is_stream:
            raise ordinary_call()
        return StreamReader(self.client(name), partial(self._downloader.pool, name), call)

    async def peer(self, name: str, chat: str) -> Any:
        """A chat as Telegram's type, for the account. `chat` is `me`, @name, -100… for a channel or group, -…
        for a small group, or the id of a user. Raises as `resolve` does."""
        client = self.client(name)
        if chat == "me":
            if client.is_bot:
                raise Permanent("A bot has no Saved Messages; give the id of a chat.")
            return types.InputPeerSelf()
        number, kind = utils.resolve_id(int(chat)) if _NUMBER.fullmatch(chat) else (0, None)
        if kind is types.PeerChat:
            return types.InputPeerChat(number)
        if kind is types.PeerUser:
            return types.InputPeerUser(number, await client.session.access_hash(number) or 0)
        account = self._accounts.get(name)
        chats = account.reader.chats if account and account.reader else ChatFinder(client)
        with translated(name, is_bot=client.is_bot):
            found = await chats.confirmed(chat)
        return types.InputPeerChannel(found.channel_id, found.access_hash)


def display_name(accounts: Accounts, name: str) -> str:
    """The display name of an account that is ready."""
    return utils.get_display_name(accounts.client(name).user) or name


def _same_part(before: Media, found: Media) -> Media:
    """The file that was found again, or its thumbnail if it was that which was read."""
    if not before.is_thumbnail:
        return found
    if (picture := thumbnail_of(found)) is None:
        raise Permanent("The message was edited and has another file now. Send the link again.")
    return replace(picture, size=before.size)


async def file_of_message(accounts: Accounts, url: str, only: Sequence[str] = ()) -> Media:
    """The one file of the message that a link leads to; of an album, the file of that message.

    `only` are the accounts that may read it; if empty, all. Raises `InvalidInput` for a link to several
    messages or files, and as `Accounts.resolve`.
    """
    link = parse(url)
    if link.last is not None:
        raise InvalidInput("this link leads to several messages; give the link of one", "links")
    # Only the bot can read what was sent to the bot.
    found = await accounts.resolve(replace(link, single=True), () if link.bot_chat_id else only)
    if len(found) > 1:
        raise InvalidInput(
            "this message has {count} files; save it, and create a link to the folder",
            "links",
            count=len(found),
        )
    return found[0]
