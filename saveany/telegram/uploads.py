"""Uploads files to Telegram with the accounts of this process (`storages.telegram.messages.MessageSender`).

Parts go over the connections that carry nothing but parts of files, and share their flood waits with
downloads. Messages go over the account's own connection, and their flood waits hold nobody else up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from telethon import errors as tg
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import Permanent, Retryable
from saveany.telegram.accounts import Accounts
from saveany.telegram.client import Client
from saveany.telegram.errors import STALE_REFERENCE, ErrorKind, flood_seconds, kind, unknown_key
from saveany.telegram.file import OnWait
from saveany.telegram.pool import ConnectionPool, PoolLimits
from storages.telegram.messages import PART, Document, DocumentPart, Target

#: Parts of one file, without and with Premium (https://core.telegram.org/api/files).
_PARTS, _PREMIUM_PARTS = 4000, 8000
#: The topic that every forum has (https://core.telegram.org/api/forum).
_GENERAL = 1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
#: Seconds that a lost connection may take to be there again.
_REACH_SECONDS = 3.0
#: Answers that mean: not all parts of the file are there, or what was made of them is not any more.
_MISSING = (tg.FilePartMissingError, tg.FilePart0MissingError, tg.FilePartsInvalidError, *STALE_REFERENCE)
#: Files that are made for albums and kept until those are sent.
_MADE = 100

#: Of messages that were sent, by their random ids.
Ids = dict[int, int]


@dataclass(frozen=True, slots=True)
class _TargetChat:
    """Who sends, and where to."""

    account: str
    client: Client
    peer: Any
    topic: types.InputReplyToMessage | None


class Uploader:
    """Brings parts and sends messages. `on_wait(seconds)` is told of flood waits that are slept."""

    def __init__(
        self, accounts: Accounts, limits: PoolLimits | None = None, on_wait: OnWait | None = None
    ) -> None:
        self._accounts = accounts
        self._limits = limits or PoolLimits()
        self._on_wait = on_wait
        self._told = 0.0  # the end of the last wait that was told of, of all the parts that sleep it
        self._connecting: dict[str, asyncio.Task[None]] = {}  # by account
        self._made: dict[tuple[str, int], types.InputMediaDocument] = {}  # by account and number

    def _sender(self, target: Target) -> str:
        return self._accounts.sender(target.account, user=target.chat == "me")

    async def reach(self, account: str, *, user: bool) -> None:
        """As in `Courier`."""
        name = self._accounts.sender(account, user=user)
        if self._accounts.client(name).is_connected:
            return
        # It is not broken off when it takes longer: pauses grow between tries, and one must come to its end.
        connecting = self._connecting.get(name)
        if connecting is None or connecting.done():
            connecting = self._connecting[name] = asyncio.create_task(self._connect(name))
            connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not (await asyncio.wait([connecting], timeout=_REACH_SECONDS))[0]:
            raise Retryable(f"Telegram account {name}: Telegram cannot be reached")
        await connecting

    async def _connect(self, name: str) -> None:
        async with self._accounts.using(name) as client:
            await client.connect()

    async def largest(self, target: Target) -> int:
        """As in `Courier`."""
        user = self._accounts.client(self._sender(target)).user
        return PART * (_PREMIUM_PARTS if user and user.premium else _PARTS)

    # Parts.

    async def upload(self, target: Target, part: DocumentPart) -> None:
        """As in `Courier`."""
        request = (
            functions.upload.SaveBigFilePartRequest(part.file, part.number, part.total, part.data)
            if part.big
            else functions.upload.SaveFilePartRequest(part.file, part.number, part.data)
        )
        name = self._sender(target)
        async with self._accounts.using(name):
            await self._bring(self._accounts.pool(name), request)

    async def _bring(self, pool: ConnectionPool, request: TLRequest) -> None:
        tries = 0
        while True:
            try:
                await self._wait(pool)
                with pool.lines(1) as (line,):
                    await line.ask(request, self._limits.part * (tries + 1), lambda: self._wait(pool))
                return
            except tg.FloodError as error:
                pool.depth.trouble()
                pool.flood(flood_seconds(error))
            except Exception as error:
                if isinstance(error, TimeoutError | tg.TimedOutError):
                    pool.depth.trouble()
                tries += 1
                await self._pause(error, tries)

    async def _pause(self, error: Exception, tries: int) -> None:
        """Before another try; raises the error if that would not help."""
        if isinstance(error, tg.RandomIdDuplicateError) or unknown_key(error):
            raise error
        if kind(type(error)) is not ErrorKind.RETRY or tries == self._limits.tries:
            raise error
        await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries))

    async def _wait(self, pool: ConnectionPool) -> None:
        while (left := pool.clock.left) > 0:
            told, self._told = self._told, max(self._told, pool.clock.until)
            await self._sleep(left, told=pool.clock.until <= told)

    async def _sleep(self, seconds: float, *, told: bool = False) -> None:
        if seconds > self._limits.flood:
            raise Retryable(f"Telegram asks to wait {seconds:.0f} s", after=seconds)
        if self._on_wait and not told:
            self._on_wait(seconds)
        await asyncio.sleep(seconds)

    # Messages.

    async def send(self, target: Target, documents: Sequence[Document]) -> Ids | None:
        """As in `Courier`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:
            try:
                return await client.afresh(lambda: self._send(name, client, target, documents))
            except _MISSING:
                for each in documents:
                    self._made.pop((name, each.file), None)
                return None

    async def _send(self, name: str, client: Client, target: Target, documents: Sequence[Document]) -> Ids:
        chat = _TargetChat(name, client, await self._accounts.peer(name, target.chat), _topic(target))
        if len(documents) > 1:
            return await self._album(chat, documents)
        return await self._message(chat, documents[0], self._made.get((name, documents[0].file)))

    async def _message(self, chat: _TargetChat, document: Document, made: Any = None) -> Ids:
        """Send one by itself, of its parts or `made` of them; no id if it was sent before."""
        media = made or await self._media(chat.account, document)
        request = functions.messages.SendMediaRequest(
            chat.peer, media, document.caption, random_id=document.random_id, reply_to=chat.topic
        )
        with suppress(tg.RandomIdDuplicateError):
            return _ids(await self._post(chat.client, request))
        return {}

    async def _album(self, chat: _TargetChat, documents: Sequence[Document]) -> Ids:
        """Send together what was not sent before."""
        left: list[tuple[Document, Any]] = []
        for each in documents:
            try:
                left.append((each, await self._make(chat, each)))
            except _MISSING:
                await self._message(chat, each)  # finds it sent, or fails as well
        if len(left) > 1:
            singles = [
                types.InputSingleMedia(made, each.caption, random_id=each.random_id) for each, made in left
            ]
            request = functions.messages.SendMultiMediaRequest(chat.peer, singles, reply_to=chat.topic)
            with suppress(tg.RandomIdDuplicateError):  # some were sent in other company
                return _ids(await self._post(chat.client, request))
        ids: dict[int, int] = {}
        for each, made in left:
            ids |= await self._message(chat, each, made)
        return ids

    async def _make(self, chat: _TargetChat, document: Document) -> types.InputMediaDocument:
        """A file of an album is made of its parts before it is sent. They are used up by that, so it is kept
        until the next claim, which may have to wait for a while."""
        key = chat.account, document.file
        if (made := self._made.get(key)) is None:
            media = await self._media(chat.account, document)
            answer = await self._post(chat.client, functions.messages.UploadMediaRequest(chat.peer, media))
            file = answer.document
            made = types.InputMediaDocument(
                types.InputDocument(file.id, file.access_hash, file.file_reference)
            )
            self._made[key] = made
            if len(self._made) > _MADE:
                del self._made[next(iter(self._made))]
        return made

    async def _media(self, name: str, document: Document) -> types.InputMediaUploadedDocument:
        file = (
            types.InputFileBig(document.file, document.parts, document.name)
            if document.big
            else types.InputFile(document.file, document.parts, document.name, document.md5)
        )
        attributes: list[Any] = [types.DocumentAttributeFilename(document.name)]
        if (video := document.video) is None:
            return types.InputMediaUploadedDocument(file, document.mime_type, attributes, force_file=True)
        shape = types.DocumentAttributeVideo(
            video.seconds, video.width, video.height, supports_streaming=True
        )
        picture = None
        if video.picture:
            picture = types.InputFile(document.file ^ 1, 1, "picture.jpg", "")
            request = functions.upload.SaveFilePartRequest(picture.id, 0, video.picture)
            await self._bring(self._accounts.pool(name), request)
        # Without `nosound_video` a silent one would become an animation.
        return types.InputMediaUploadedDocument(
            file, document.mime_type, [shape, *attributes], thumb=picture, nosound_video=True
        )

    async def _post(self, client: Client, request: TLRequest) -> Any:
        tries = 0
        while True:
            try:
                return await client.post(request)
            except tg.FloodError as error:
                await self._sleep(flood_seconds(error))
            except Exception as error:
                tries += 1
                await self._pause(error, tries)

    async def delete(self, target: Target, messages: Sequence[int]) -> None:
        """As in `Courier`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:
            await client.afresh(lambda: self._delete(name, client, target, messages))

    async def _delete(self, name: str, client: Client, target: Target, messages: Sequence[int]) -> None:
        peer = await self._accounts.peer(name, target.chat)
        request: TLRequest = functions.messages.DeleteMessagesRequest(list(messages), revoke=True)
        if isinstance(peer, types.InputPeerChannel):
            request = functions.channels.DeleteMessagesRequest(_channel(peer), list(messages))
        await client.call(request)

    async def check(self, target: Target) -> None:
        """As in `Courier`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:
            if why := await client.afresh(lambda: self._unfit(name, client, target)):
                raise Permanent(f"{name} {why} {target.chat}; add it, with the right to post")

    async def _unfit(self, name: str, client: Client, target: Target) -> str:
        peer = await self._accounts.peer(name, target.chat)
        if not isinstance(peer, types.InputPeerChannel):
            return ""
        found = await client.call(functions.channels.GetChannelsRequest([_channel(peer)]))
        return _no_posting(found.chats[0] if found.chats else None)


def _ids(answer: Any) -> Ids:
    """Of the messages that were sent."""
    return {each.random_id: each.id for each in answer.updates if isinstance(each, types.UpdateMessageID)}


def _channel(peer: types.InputPeerChannel) -> types.InputChannel:
    return types.InputChannel(peer.channel_id, peer.access_hash)


def _no_posting(chat: types.Channel | types.ChannelForbidden | None) -> str:
    """Why the account may not post there, "" if it may as far as is known."""
    if not isinstance(chat, types.Channel) or chat.left:
        return "is no member of the chat"
    rights = chat.admin_rights
    if chat.broadcast and not (chat.creator or (rights and rights.post_messages)):
        return "may not post in the channel"
    return ""


def _topic(target: Target) -> types.InputReplyToMessage | None:
    """The General topic is where messages go that name none; to name it is an error."""
    if target.topic in (None, _GENERAL):
        return None
    return types.InputReplyToMessage(target.topic, top_msg_id=target.topic)
