"""Channels and groups that the configuration names: the bot copies files there, and looks who is a member."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from telethon import errors as tg
from telethon.tl import functions, types

from saveany.errors import Permanent
from saveany.telegram.bot_client import BotClient, message_id, random_id
from saveany.telegram.chats import ChatFinder, ChatNotVisible

#: Errors of a chat in which the bot may not post.
_MAY_NOT_POST: Final = (
    ChatNotVisible,
    tg.ChannelInvalidError,
    tg.ChannelPrivateError,
    tg.ChatAdminRequiredError,
    tg.ChatWriteForbiddenError,
)
#: Seconds for which the name and the invite link of a chat are not read again.
_KNOWN_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class ChatCard:
    """A chat as it is shown to somebody who is to join it."""

    title: str
    url: str = ""  # that joins it; "" if the bot may not invite


class BotChats:
    """Channels and groups as the bot sees them. `chat` is always @name or -100….

    Its methods raise as those of `BotClient`; a `Permanent` if the bot is no member of the chat, or lacks the
    right for what it is to do there.
    """

    def __init__(self, client: BotClient) -> None:
        self._client = client
        self._cards: dict[str, tuple[float, ChatCard]] = {}  # by chat: when it was read, monotonic

    async def copy(self, source: int, message: int, chat: str, key: str) -> str:
        """Copy a message of the chat with the marked id `source`; returns the link to the copy, which names
        no author. With the same `key` no second copy is made: then, returns ""."""
        with self._client.translating() as client, _told_to_operator(chat):
            channel = await ChatFinder(client).confirmed(chat)
            request = functions.messages.ForwardMessagesRequest(
                from_peer=types.InputPeerEmpty(),
                id=[message],
                random_id=[random_id(key)],
                to_peer=types.InputPeerChannel(channel.channel_id, channel.access_hash),
                silent=True,
                drop_author=True,
            )

            async def send() -> Any:
                request.from_peer = await self._client.peer(source)
                return await client.send_once(request, max_flood_wait=0)

            try:
                reply = await client.retry_with_new_hash(send)
            except tg.RandomIdDuplicateError:
                return ""
        return f"https://t.me/c/{channel.channel_id}/{message_id(reply)}?single"

    async def has_member(self, chat: str, user: int) -> bool:
        """Whether a user, whom the bot has met, is a member of a chat. The bot must be an administrator."""
        with self._client.translating() as client:
            chats = ChatFinder(client)
            channel = await chats.confirmed(chat)

            async def ask() -> Any:
                peer = await self._client.peer(user)
                return await chats.call(functions.channels.GetParticipantRequest(channel, peer))

            try:
                found = await client.retry_with_new_hash(ask)
            except ChatNotVisible as error:
                if isinstance(error.__cause__, tg.UserNotParticipantError):
                    return False
                raise
        participant = found.participant
        if isinstance(participant, types.ChannelParticipantBanned):
            return not participant.left  # a member with restrictions
        return not isinstance(participant, types.ChannelParticipantLeft)

    async def card(self, chat: str) -> ChatCard:
        """The title of a chat, and the link that joins it."""
        at, known = self._cards.get(chat, (0.0, None))
        if known is None or time.monotonic() - at > _KNOWN_SECONDS:
            known = await self._read(chat)
            self._cards[chat] = time.monotonic(), known
        return known

    async def _read(self, chat: str) -> ChatCard:
        with self._client.translating() as client:
            chats = ChatFinder(client)
            channel = await chats.confirmed(chat)
            reply = await chats.call(functions.channels.GetFullChannelRequest(channel))
            title = next((each.title for each in reply.chats if each.id == channel.channel_id), chat)
            if chat.startswith("@"):
                return ChatCard(title, f"https://t.me/{chat[1:]}")
            invite = reply.full_chat.exported_invite
            if invite is None:
                peer = types.InputPeerChannel(channel.channel_id, channel.access_hash)
                # The first invite link of the bot: there is none that this could replace.
                request = functions.messages.ExportChatInviteRequest(peer, legacy_revoke_permanent=True)
                try:
                    invite = await client.send_once(request)
                except tg.BadRequestError:
                    return ChatCard(title)
        return ChatCard(title, getattr(invite, "link", ""))


@contextmanager
def _told_to_operator(chat: str) -> Iterator[None]:
    """Says what to do if the bot may not post."""
    try:
        yield
    except _MAY_NOT_POST as error:
        raise Permanent(
            "I may not post in {chat} (links.channel). The operator must make me an administrator there.",
            chat=chat,
        ) from error
