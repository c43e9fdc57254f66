"""What one account is shown: objects of the world as Telegram's types, with that account's own hashes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from telethon.tl import types as tl

from saveany.sandbox.world import Account, Chat, File, Message, Picture, World


@dataclass(frozen=True)
class View:
    """The world as `account` sees it."""

    world: World
    account: Account

    def user(self, user: Account) -> Any:
        """A `user`; the account itself is shown its own phone number."""
        me = user is self.account
        return tl.User(
            id=user.id,
            is_self=me,
            bot=user.bot,
            bot_info_version=1 if user.bot else None,
            access_hash=self.world.access_hash(self.account, user.id),
            first_name=user.name,
            username=user.username or None,
            phone=user.phone.lstrip("+") or None if me else None,
        )

    def chat(self, chat: Chat) -> Any:
        """A `channel`."""
        return tl.Channel(
            id=chat.id,
            title=chat.title,
            photo=tl.ChatPhotoEmpty(),
            date=chat.date,
            left=self.account.id not in chat.members,
            broadcast=chat.broadcast,
            megagroup=not chat.broadcast,
            forum=chat.forum,
            has_link=chat.linked is not None,
            noforwards=chat.protected,
            access_hash=self.world.access_hash(self.account, chat.id),
            username=chat.username or None,
        )

    def message(self, chat: Chat, message: Message) -> Any:
        """A `message`, or a `messageService`."""
        peer = tl.PeerChannel(chat.id)
        if message.service:
            action = (
                tl.MessageActionTopicCreate(message.opens_topic, 0x6FB9F0)
                if message.opens_topic
                else tl.MessageActionChannelCreate(chat.title)
            )
            return tl.MessageService(id=message.id, peer_id=peer, date=message.date, action=action)
        return tl.Message(
            id=message.id,
            peer_id=peer,
            date=message.date,
            message=message.text,
            post=chat.broadcast,
            noforwards=message.protected,
            from_id=_author(message),
            fwd_from=_forward(message),
            reply_to=_reply(message),
            media=self.media(message.file) if message.file else None,
            replies=self._replies(chat, message),
            edit_date=message.edited,
            grouped_id=message.album,
        )

    def media(self, file: File) -> Any:
        """A `messageMediaPhoto` or `messageMediaDocument`."""
        access = {
            "id": file.id,
            "access_hash": self.world.access_hash(self.account, file.id),
            "file_reference": self.world.file_reference(self.account, file),
            "date": file.date,
            "dc_id": file.dc,
        }
        if file.pictures:
            return tl.MessageMediaPhoto(photo=tl.Photo(sizes=_sizes(file.pictures), **access))
        named = [tl.DocumentAttributeFilename(file.name)] if file.name is not None else []
        document = tl.Document(
            mime_type=file.mime, size=file.content.size, attributes=[*file.attributes, *named], **access
        )
        return tl.MessageMediaDocument(document=document)

    def around(self, chat: Chat, messages: Iterable[Message]) -> dict[str, list[Any]]:
        """The `chats` and `users` that go with messages of a chat."""
        chosen = list(messages)
        chats = {chat.id} | {m.forwarded[0] for m in chosen if m.forwarded}
        users = {m.sender for m in chosen if m.sender is not None}
        return {
            "chats": [self.chat(self.world.chats[id_]) for id_ in sorted(chats)],
            "users": [self.user(self.world.accounts[id_]) for id_ in sorted(users)],
        }

    def _replies(self, chat: Chat, message: Message) -> Any:
        """The comment counter of a channel's post that has a discussion."""
        group = self.world.chats.get(chat.linked) if chat.broadcast and chat.linked else None
        root = group.comments(message.id) if group else None
        if group is None or root is None:
            return None
        comments = [m.id for m in group.messages.values() if root.id in m.threads]
        return tl.MessageReplies(
            len(comments), 1, comments=True, channel_id=group.id, max_id=max(comments, default=root.id)
        )


def _author(message: Message) -> Any:
    if message.forwarded:
        return tl.PeerChannel(message.forwarded[0])
    return tl.PeerUser(message.sender) if message.sender is not None else None


def _forward(message: Message) -> Any:
    if message.forwarded is None:
        return None
    channel, post = message.forwarded
    peer = tl.PeerChannel(channel)
    return tl.MessageFwdHeader(
        message.date, from_id=peer, channel_post=post, saved_from_peer=peer, saved_from_msg_id=post
    )


def _reply(message: Message) -> Any:
    """As the service does: the thread is named apart only when the message answers another one in it."""
    target = message.reply_to or message.thread
    if target is None:
        return None
    thread = message.thread if message.thread != target else None
    return tl.MessageReplyHeader(
        reply_to_msg_id=target, reply_to_top_id=thread, forum_topic=message.topic or None
    )


def _sizes(pictures: tuple[Picture, ...]) -> list[Any]:
    """Small sizes as `photoSize`, the largest as `photoSizeProgressive`, as the service sends them."""
    *small, large = pictures
    steps = [large.content.size // 4, large.content.size // 2, large.content.size]
    return [
        *(tl.PhotoSize(p.type, p.width, p.height, p.content.size) for p in small),
        tl.PhotoSizeProgressive(large.type, large.width, large.height, steps),
    ]
