"""The world as one account sees it: its objects as Telegram's types, with the account's access hashes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from telethon.tl import types as tl

from saveany.sandbox import access, wrappings
from saveany.sandbox.group_calls import GroupCall
from saveany.sandbox.world import Chat, Picture, SandboxAccount, StoredFile, StoredMessage, World


@dataclass(frozen=True)
class WorldView:
    """The world as `account` sees it."""

    world: World
    account: SandboxAccount

    def user(self, user: SandboxAccount) -> Any:
        """A `user`; only the account itself sees its phone number."""
        me = user is self.account
        return tl.User(
            id=user.id,
            is_self=me,
            bot=user.bot,
            premium=user.premium,
            bot_info_version=1 if user.bot else None,
            access_hash=access.access_hash(self.account, user.id),
            photo=tl.UserProfilePhoto(user.photos[-1].id, user.photos[-1].dc) if user.photos else None,
            first_name=user.name,
            username=user.username or None,
            phone=user.phone.lstrip("+") or None if me else None,
        )

    def chat(self, chat: Chat) -> Any:
        """A `channel`, or a `chat` for a small group."""
        if chat.group:
            return self._group(chat)
        call = self.world.calls.of(chat)
        return tl.Channel(
            id=chat.id,
            title=chat.title,
            photo=tl.ChatPhoto(chat.photo.id, chat.photo.dc) if chat.photo else tl.ChatPhotoEmpty(),
            date=chat.date,
            left=self.account.id not in chat.members,
            broadcast=chat.broadcast,
            megagroup=not chat.broadcast,
            forum=chat.forum,
            has_link=chat.linked is not None,
            noforwards=chat.protected,
            call_active=call is not None,
            call_not_empty=bool(call and call.joined),
            access_hash=access.access_hash(self.account, chat.id),
            username=chat.username or None,
            admin_rights=tl.ChatAdminRights(post_messages=True, manage_call=True)
            if chat.is_administered_by(self.account.id)
            else None,
        )

    def _group(self, chat: Chat) -> Any:
        supergroup = self.world.private_chats.groups[chat.id].migrated_to
        return tl.Chat(
            chat.id,
            chat.title,
            tl.ChatPhotoEmpty(),
            len(chat.members),
            chat.date,
            version=1,
            deactivated=supergroup is not None,
            migrated_to=tl.InputChannel(supergroup, access.access_hash(self.account, supergroup))
            if supergroup is not None
            else None,
        )

    def message(self, chat: Chat, message: StoredMessage) -> Any:
        """A `message`, or a `messageService`."""
        peer = peer_of(chat)
        if message.service:
            action = self._action(chat, message)
            return tl.MessageService(id=message.id, peer_id=peer, date=message.date, action=action)
        return tl.Message(
            id=message.id,
            peer_id=peer,
            date=message.date,
            message=message.text,
            out=message.sender == self.account.id,
            post=chat.broadcast,
            noforwards=message.protected,
            from_id=self._author(chat, message),
            fwd_from=_forward(chat, message),
            reply_to=_reply(message),
            media=self._media(message),
            rich_message=wrappings.rich_text(self, message.wrapped) if message.wrapped else None,
            entities=list(message.entities) or None,
            reply_markup=message.markup,
            replies=self._replies(chat, message),
            edit_date=message.edited,
            grouped_id=message.album,
        )

    def _action(self, chat: Chat, message: StoredMessage) -> Any:
        if message.wrapped:
            return wrappings.action(self, message.wrapped)
        if message.call:
            return tl.MessageActionGroupCall(self.input_call(message.call.id), message.call.seconds)
        if message.opens_topic:
            return tl.MessageActionTopicCreate(message.opens_topic, 0x6FB9F0)
        return tl.MessageActionChannelCreate(chat.title)

    def input_call(self, call_id: int) -> Any:
        """An `inputGroupCall`, with which the account names a call."""
        return tl.InputGroupCall(call_id, access.access_hash(self.account, call_id))

    def group_call(self, call: GroupCall) -> Any:
        """A `groupCall`, or a `groupCallDiscarded` after its end."""
        access_hash = access.access_hash(self.account, call.id)
        if call.seconds is not None:
            return tl.GroupCallDiscarded(call.id, access_hash, call.seconds)
        recording = call.recording
        return tl.GroupCall(
            id=call.id,
            access_hash=access_hash,
            participants_count=len(call.joined) + call.viewers,
            unmuted_video_limit=30,
            unmuted_video_count=1 if call.video else None,
            can_start_video=call.video,
            version=call.version,
            rtmp_stream=call.stream is not None,
            title=call.title or None,
            stream_dc_id=call.stream.dc if call.stream else None,
            record_start_date=recording.started if recording else None,
            record_video_active=bool(recording and recording.video),
        )

    def _media(self, message: StoredMessage) -> Any:
        if message.expired:
            return tl.MessageMediaDocument(ttl_seconds=60)
        if message.file:
            return self.media(message.file)
        return wrappings.media(self, message.wrapped) if message.wrapped else None

    def media(self, file: StoredFile) -> Any:
        """A `messageMediaPhoto` or `messageMediaDocument`."""
        if file.pictures:
            video = self.file(file.live) if file.live else None
            return tl.MessageMediaPhoto(photo=self.file(file), live_photo=bool(video), video=video)
        cover = self.file(file.cover) if file.cover else None
        return tl.MessageMediaDocument(document=self.file(file), video_cover=cover)

    def file(self, file: StoredFile) -> Any:
        """A `photo` or `document`."""
        fields = {
            "id": file.id,
            "access_hash": access.access_hash(self.account, file.id),
            "file_reference": access.file_reference(self.account, file),
            "date": file.date,
            "dc_id": file.dc,
        }
        if file.pictures:
            return tl.Photo(sizes=_sizes(file.pictures), **fields)
        named = [tl.DocumentAttributeFilename(file.name)] if file.name is not None else []
        thumbs = [tl.PhotoSize(each.type, each.width, each.height, each.content.size) for each in file.thumbs]
        return tl.Document(
            mime_type=file.mime,
            size=file.content.size,
            attributes=[*file.attributes, *named],
            thumbs=thumbs or None,
            **fields,
        )

    def peers_of(self, chat: Chat, messages: Iterable[StoredMessage]) -> dict[str, list[Any]]:
        """The `chats` and `users` that messages of a chat refer to."""
        chosen = list(messages)
        origins = [m.origin for m in chosen if m.origin]
        chats = {m.forwarded[0] for m in chosen if m.forwarded} | {o.channel for o in origins if o.channel}
        users = {m.sender for m in chosen if m.sender is not None and not chat.broadcast}
        users |= {o.account for o in origins if o.account}
        story_owners = {m.wrapped.story[0] for m in chosen if m.wrapped and m.wrapped.story}
        if chat.private and not chat.group:
            users |= {chat.id, self.account.id}
        own = [self.chat(chat)] if chat.group or not chat.private else []
        chats -= {chat.id}
        story_owners -= users | chats | {chat.id}
        world = self.world
        return {
            "chats": own
            + [self.chat(world.chats[id_]) for id_ in sorted(chats)]
            + [_as_min(self.chat(world.chats[id_])) for id_ in sorted(story_owners & world.chats.keys())],
            "users": [self.user(world.accounts[id_]) for id_ in sorted(users)]
            + [
                _as_min(self.user(world.accounts[id_]))
                for id_ in sorted(story_owners & world.accounts.keys())
            ],
        }

    def _replies(self, chat: Chat, message: StoredMessage) -> Any:
        """The comment counter of a channel's post with a discussion."""
        group = self.world.chats.get(chat.linked) if chat.broadcast and chat.linked else None
        root = group.comments(message.id) if group else None
        if group is None or root is None:
            return None
        comments = [m.id for m in group.messages.values() if root.id in m.threads]
        return tl.MessageReplies(
            len(comments), 1, comments=True, channel_id=group.id, max_id=max(comments, default=root.id)
        )

    def peers_of_all(self, found: Iterable[tuple[Chat, Iterable[StoredMessage]]]) -> dict[str, list[Any]]:
        """The `chats` and `users` that messages of several chats refer to."""
        all_: dict[str, dict[int, Any]] = {"chats": {}, "users": {}}
        for chat, messages in found:
            for kind, things in self.peers_of(chat, messages).items():
                full = {thing.id: thing for thing in things if not getattr(thing, "min", False)}
                all_[kind] = {thing.id: thing for thing in things} | all_[kind] | full
        return {kind: list(things.values()) for kind, things in all_.items()}

    def _author(self, chat: Chat, message: StoredMessage) -> Any:
        """The author. Posts have none, nor have messages of the other side in a private chat."""
        if message.forwarded:
            return tl.PeerChannel(message.forwarded[0])
        of_two = chat.private and not chat.group
        hidden = chat.broadcast or (of_two and message.sender != self.account.id)
        return None if hidden or message.sender is None else tl.PeerUser(message.sender)


def _as_min(shown: Any) -> Any:
    """A user or channel as Telegram shows it to an account that may not know it: with an invalid access hash
    (https://core.telegram.org/api/min)."""
    shown.min, shown.access_hash = True, shown.access_hash ^ 1
    return shown


def peer_of(chat: Chat) -> Any:
    """A chat's `peer`."""
    if chat.group:
        return tl.PeerChat(chat.id)
    return tl.PeerUser(chat.id) if chat.private else tl.PeerChannel(chat.id)


def _forward(chat: Chat, message: StoredMessage) -> Any:
    if message.forwarded:
        channel, post = message.forwarded
        peer = tl.PeerChannel(channel)
        return tl.MessageFwdHeader(
            message.date, from_id=peer, channel_post=post, saved_from_peer=peer, saved_from_msg_id=post
        )
    if message.origin is None:
        return None
    date, account, channel_id, post_id = message.origin
    source = tl.PeerChannel(channel_id) if channel_id else tl.PeerUser(account)
    saved = chat.owner == chat.id and post_id is not None
    return tl.MessageFwdHeader(
        date,
        from_id=source,
        channel_post=post_id,
        saved_from_peer=source if saved else None,
        saved_from_msg_id=post_id if saved else None,
    )


def _reply(message: StoredMessage) -> Any:
    """The reply header. As in the real service, the thread is named only if the message replies to another
    one in it."""
    target = message.reply_to or message.thread
    if target is None:
        return None
    thread = message.thread if message.thread != target else None
    return tl.MessageReplyHeader(
        reply_to_msg_id=target, reply_to_top_id=thread, forum_topic=message.topic or None
    )


def _sizes(pictures: tuple[Picture, ...]) -> list[Any]:
    """Small sizes as `photoSize`, the largest as `photoSizeProgressive`, as in the real service."""
    *small, large = pictures
    size = large.content.size if large.declared is None else large.declared
    steps = [size // 4, size // 2, size]
    return [
        *(tl.PhotoSize(p.type, p.width, p.height, p.content.size) for p in small),
        tl.PhotoSizeProgressive(large.type, large.width, large.height, steps),
    ]
