"""Uploads files to Telegram and posts them: implements `storages.message_sender.MessageSender`.

Parts go over the connections that carry only parts of files, and share flood waits with downloads. Messages
go over the account's control connection; their flood waits delay nothing else, and are left to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from telethon import errors as tg
from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.errors import Permanent, Retryable
from saveany.logs import get_logger
from saveany.telegram.accounts import Accounts
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import (
    STALE_REFERENCE,
    flood_seconds,
    flood_wait,
    of_account,
)
from saveany.telegram.file import OnWait
from saveany.telegram.pool import ConnectionPool, PoolLimits
from saveany.telegram.posted_files import (
    MEDIA_REFUSED,
    MadeFile,
    Messages,
    input_media,
    noted,
    sent_messages,
    uploaded_media,
)
from saveany.telegram.target_chats import as_channel, cannot_post, newest_message
from saveany.telegram.upload_retries import UploadRetries
from saveany.texts import Text
from storages.base import NoReference
from storages.message_sender import PART, Document, DocumentPart, Target

#: Maximum number of parts of one file, without and with Premium (https://core.telegram.org/api/files).
_MAX_PARTS, _MAX_PREMIUM_PARTS = 4000, 8000
#: Id of the General topic, which every forum has (https://core.telegram.org/api/forum).
_GENERAL_TOPIC = 1
#: Seconds to wait for a lost connection to be restored.
_CONNECT_SECONDS = 3.0
#: Errors that mean that parts of a file are missing, or that the document made of them no longer exists.
#: A reference to a file is like that, too; its chat may have been protected from copying in the meantime.
_MISSING = (
    tg.FilePartMissingError,
    tg.FilePart0MissingError,
    tg.FilePartsInvalidError,
    tg.ChatForwardsRestrictedError,
    *STALE_REFERENCE,
)
#: Maximum number of documents that are kept until they are sent: those made for albums, and references.
_MAX_DOCUMENTS = 1000

Result = TypeVar("Result")
log = get_logger("saveany.telegram")


@dataclass(frozen=True, slots=True)
class _TargetChat:
    """The account that sends, and the chat and topic that it sends to."""

    account: str
    client: MtprotoClient
    peer: Any
    topic: types.InputReplyToMessage | None


class Uploader:
    """Uploads parts and sends messages. `on_wait(seconds)` is called when a flood wait begins."""

    def __init__(
        self, accounts: Accounts, limits: PoolLimits | None = None, on_wait: OnWait | None = None
    ) -> None:
        self._accounts = accounts
        self._limits = limits or PoolLimits()
        self._retries = UploadRetries(self._limits, on_wait)
        self._connecting: dict[str, asyncio.Task[None]] = {}  # by account
        self._documents: dict[tuple[str, int], MadeFile] = {}  # by account and file id

    def _sender(self, target: Target) -> str:
        return self._accounts.sender(target.account, user=target.chat == "me")

    async def reach(self, account: str, *, user: bool) -> None:
        """As in `MessageSender`."""
        name = self._accounts.sender(account, user=user)
        if self._accounts.client(name).is_connected:
            return
        # The attempt is not canceled at the timeout: the pauses between attempts grow, and one must be
        # completed.
        connecting = self._connecting.get(name)
        if connecting is None or connecting.done():
            connecting = self._connecting[name] = asyncio.create_task(self._connect(name))
            connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not (await asyncio.wait([connecting], timeout=_CONNECT_SECONDS))[0]:
            raise Retryable(of_account(name, Text("Telegram cannot be reached")))
        await connecting

    async def _connect(self, name: str) -> None:
        async with self._accounts.using(name) as client:
            await client.connect()

    async def largest(self, target: Target) -> int:
        """As in `MessageSender`."""
        user = self._accounts.client(self._sender(target)).user
        return PART * (_MAX_PREMIUM_PARTS if user and user.premium else _MAX_PARTS)

    # Parts.

    async def upload(self, target: Target, part: DocumentPart) -> None:
        """As in `MessageSender`."""
        request = (
            functions.upload.SaveBigFilePartRequest(part.file, part.number, part.total, part.data)
            if part.big
            else functions.upload.SaveFilePartRequest(part.file, part.number, part.data)
        )
        name = self._sender(target)
        async with self._accounts.using(name):
            await self._upload_part(self._accounts.pool(name), request)

    async def _upload_part(self, pool: ConnectionPool, request: TLRequest) -> None:
        tries = 0
        while True:
            try:
                await self._retries.wait_until_allowed(pool)
                with pool.lease(1) as (connection,):
                    timeout = self._limits.part_seconds * (tries + 1)
                    await connection.call(request, timeout, lambda: self._retries.wait_until_allowed(pool))
                return
            except tg.FloodError as error:
                pool.window.on_failure()
                pool.flood(flood_seconds(error))
            except Exception as error:
                if isinstance(error, TimeoutError | tg.TimedOutError):
                    pool.window.on_failure()
                tries += 1
                await self._retries.pause(error, tries)

    # Messages.

    async def refer(self, target: Target, file: int, source: Mapping[str, Any]) -> NoReference | None:
        """As in `MessageSender`."""
        name = self._sender(target)
        if source.get("only") and list(source["only"]) != [name]:
            return "impossible"  # a private chat of another account
        try:
            found = await self._accounts.find({**source, "only": [name]})
        except Permanent:
            return "impossible"  # this account does not see the message
        if found.is_web:
            return "impossible"
        if found.is_protected:
            return "protected"
        location = found.location
        identity = found.document_id, location.access_hash, location.file_reference
        self._keep(
            (name, file),
            MadeFile(
                types.InputMediaPhoto(types.InputPhoto(*identity))
                if found.kind == "photo"
                else types.InputMediaDocument(types.InputDocument(*identity))
            ),
        )
        return None

    def _keep(self, key: tuple[str, int], made: MadeFile) -> None:
        self._documents[key] = made
        if len(self._documents) > _MAX_DOCUMENTS:
            del self._documents[next(iter(self._documents))]

    async def send(self, target: Target, documents: Sequence[Document]) -> Messages | None:
        """As in `MessageSender`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:
            try:
                return await client.retry_with_new_hash(lambda: self._send(name, client, target, documents))
            except _MISSING:
                for each in documents:
                    self._documents.pop((name, each.file), None)
                return None

    async def _send(
        self, name: str, client: MtprotoClient, target: Target, documents: Sequence[Document]
    ) -> Messages:
        chat = _TargetChat(name, client, await self._accounts.peer(name, target.chat), _topic(target))
        if len(documents) > 1:
            return await self._send_album(chat, documents)
        existing = self._documents.get((name, documents[0].file))
        return await self._send_single(chat, documents[0], existing)

    async def _send_single(
        self, chat: _TargetChat, document: Document, existing: MadeFile | None = None
    ) -> Messages:
        """Send a document in a message, made from its parts or `existing`; no id if it was sent before."""

        async def send(media: Any) -> Messages:
            request = functions.messages.SendMediaRequest(
                chat.peer, media, document.caption, random_id=document.random_id, reply_to=chat.topic
            )
            with suppress(tg.RandomIdDuplicateError):
                return sent_messages(await self._send_message(chat.client, request), chat.account)
            return {}

        if existing:
            return noted(await send(existing.media), {document.random_id: existing})
        sent, refused = await self._or_plain(chat, document, send)
        return noted(sent, {document.random_id: MadeFile(None, refused)})

    async def _or_plain(
        self, chat: _TargetChat, document: Document, use: Callable[[Any], Awaitable[Result]]
    ) -> tuple[Result, str]:
        """The result of `use` for the uploaded parts of a document. If Telegram refuses it as a photo, for
        example, they become a plain file, and Telegram's reason is returned, too."""
        try:
            return await use(await self._media(chat.account, document)), ""
        except tuple(MEDIA_REFUSED) as error:
            if document.properties is None:
                raise
            reason = MEDIA_REFUSED[type(error)]
            log.info("sent_as_plain_file", name=document.name, reason=reason)
            return await use(await self._media(chat.account, replace(document, properties=None))), reason

    async def _send_album(self, chat: _TargetChat, documents: Sequence[Document]) -> Messages:
        """Send the documents that were not sent before, as an album."""
        making = (self._make_document(chat, each) for each in documents)
        made_or_failed = list(
            zip(documents, await asyncio.gather(*making, return_exceptions=True), strict=True)
        )
        for _, result in made_or_failed:
            if isinstance(result, BaseException) and not isinstance(result, _MISSING):
                raise result
        made = [(each, file) for each, file in made_or_failed if isinstance(file, MadeFile)]
        for each, result in made_or_failed:
            if isinstance(result, BaseException):
                await self._send_single(chat, each)  # either finds it sent, or fails as well
        # A photo that has become a plain file does not fit into the album any more.
        fitting = [(each, file) for each, file in made if not file.refused]
        sent: Messages = {}
        if len(fitting) > 1:
            singles = [
                types.InputSingleMedia(file.media, each.caption, random_id=each.random_id)
                for each, file in fitting
            ]
            request = functions.messages.SendMultiMediaRequest(chat.peer, singles, reply_to=chat.topic)
            with suppress(tg.RandomIdDuplicateError):  # some were sent before in another album
                sent = sent_messages(await self._send_message(chat.client, request), chat.account)
                made = [(each, file) for each, file in made if file.refused]
        for each, file in made:
            sent |= await self._send_single(chat, each, file)
        return sent

    async def _make_document(self, chat: _TargetChat, document: Document) -> MadeFile:
        """A document for an album, made from its uploaded parts. Telegram deletes the parts then, so the
        document is kept for the next attempt, which may come much later."""
        key = chat.account, document.file
        if (made := self._documents.get(key)) is None:

            async def make(media: Any) -> Any:
                request = functions.messages.UploadMediaRequest(chat.peer, media)
                return input_media(await self._send_message(chat.client, request))

            made = MadeFile(*await self._or_plain(chat, document, make))
            self._keep(key, made)
        return made

    async def _media(self, account: str, document: Document) -> Any:
        async def upload_picture(file: int, picture: bytes) -> None:
            request = functions.upload.SaveFilePartRequest(file, 0, picture)
            await self._upload_part(self._accounts.pool(account), request)

        return await uploaded_media(document, upload_picture)

    async def _send_message(self, client: MtprotoClient, request: TLRequest) -> Any:
        tries = 0
        while True:
            try:
                return await client.send_once(request, max_flood_wait=0)
            except tg.FloodError as error:
                raise Retryable(flood_wait(flood_seconds(error)), after=flood_seconds(error)) from error
            except Exception as error:
                tries += 1
                await self._retries.pause(error, tries)

    async def delete(self, account: str, source: Mapping[str, Any]) -> None:
        """As in `MessageSender`."""
        try:  # the account may have become another person's, or the message may have been edited
            await self._accounts.find({**source, "only": [account]})
        except Permanent:
            return
        async with self._accounts.using(account) as client:
            await client.retry_with_new_hash(lambda: self._delete(account, client, source))

    async def _delete(self, name: str, client: MtprotoClient, source: Mapping[str, Any]) -> None:
        peer, message = await self._accounts.peer(name, str(source["chat"])), source["message"]
        request: TLRequest = functions.messages.DeleteMessagesRequest([message], revoke=True)
        if isinstance(peer, types.InputPeerChannel):
            request = functions.channels.DeleteMessagesRequest(as_channel(peer), [message])
        await client.call(request)

    async def check(self, target: Target) -> None:
        """As in `MessageSender`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:

            async def reason() -> str:
                return await cannot_post(client, await self._accounts.peer(name, target.chat))

            if why := await client.retry_with_new_hash(reason):
                raise Permanent(why, account=name, chat=target.chat)

    async def newest(self, target: Target, enough: int) -> int:
        """As in `MessageSender`."""
        name = self._sender(target)
        async with self._accounts.using(name) as client:

            async def ask() -> int:
                return await newest_message(client, await self._accounts.peer(name, target.chat), enough)

            return await client.retry_with_new_hash(ask)


def _topic(target: Target) -> types.InputReplyToMessage | None:
    """The reply header for a topic. Messages without one go to the General topic; naming it is an error."""
    if target.topic in (None, _GENERAL_TOPIC):
        return None
    return types.InputReplyToMessage(target.topic, top_msg_id=target.topic)
