"""Profile photos of people, channels and supergroups, as messages whose ids are the negative ids of the
photos: those are 64-bit numbers, so that they are below the ids of all stories (`stories`).
"""

from __future__ import annotations

from typing import Any

from telethon import errors as tg
from telethon import utils
from telethon.tl import functions, types

from saveany.telegram.chats import ChatFinder, ChatNotVisible
from saveany.telegram.message_loader import LoadedMessages
from saveany.texts import Text

#: Ids of messages that are profile photos are below.
PHOTOS_BELOW = -(2**31)
#: Maximum number of photos or messages in one reply.
_PAGE = 100


async def all_profile_photos(chats: ChatFinder, owner: int, username: str = "") -> LoadedMessages:
    """The current and earlier photos of a person (marked id). Of a channel or supergroup the current one,
    unless a message shows it."""
    peer = await chats.input_peer(owner, username)
    if isinstance(peer, types.InputPeerChannel):
        photo = await _of_channel(chats, peer)
        return _loaded(owner, [photo] if photo and not await _is_in_history(chats, peer, photo) else [])
    found: dict[int, types.Photo] = {}
    received = 0
    while page := await _of_person(chats, peer, offset=received):
        received += len(page)
        found |= {each.id: each for each in page}
    return _loaded(owner, found.values())


async def load_profile_photo(chats: ChatFinder, owner: int, photo_id: int) -> LoadedMessages:
    """One photo of a person, channel or supergroup (marked id), if it is still there."""
    peer = await chats.input_peer(owner)
    if isinstance(peer, types.InputPeerChannel):
        current = await _of_channel(chats, peer)
        found = [current] if current else []
    else:
        found = await _of_person(chats, peer, offset=-1, max_id=photo_id, limit=1)
    return _loaded(owner, [each for each in found if each.id == photo_id])


def check_photo_reader(is_bot: bool) -> None:
    """Raise `ChatNotVisible` for a bot, which knows only the people who have written to it."""
    if is_bot:
        raise ChatNotVisible(Text("bots cannot read profile photos"))


async def _of_person(
    chats: ChatFinder, peer: Any, *, offset: int, max_id: int = 0, limit: int = _PAGE
) -> list[types.Photo]:
    if isinstance(peer, types.InputPeerChat):
        return []  # a basic group: its photos are in its messages
    user = utils.get_input_user(peer)
    try:
        reply = await chats.call(functions.photos.GetUserPhotosRequest(user, offset, max_id, limit))
    except tg.UserIdInvalidError as error:
        raise ChatNotVisible(Text("it does not know this person")) from error
    return [each for each in reply.photos if isinstance(each, types.Photo)]


async def _of_channel(chats: ChatFinder, peer: types.InputPeerChannel) -> types.Photo | None:
    channel = types.InputChannel(peer.channel_id, peer.access_hash)
    reply = await chats.call(functions.channels.GetFullChannelRequest(channel))
    photo = reply.full_chat.chat_photo
    return photo if isinstance(photo, types.Photo) else None


async def _is_in_history(chats: ChatFinder, peer: types.InputPeerChannel, photo: types.Photo) -> bool:
    """Whether one of the last service messages about new photos shows a photo."""
    request = functions.messages.SearchRequest(
        peer,
        "",
        types.InputMessagesFilterChatPhotos(),
        min_date=None,
        max_date=None,
        offset_id=0,
        add_offset=0,
        limit=_PAGE,
        max_id=0,
        min_id=0,
        hash=0,
    )
    shown = (
        getattr(getattr(each, "action", None), "photo", None) for each in (await chats.call(request)).messages
    )
    return any(each.id == photo.id for each in shown if isinstance(each, types.Photo))


def _loaded(owner: int, photos: Any) -> LoadedMessages:
    number, kind = utils.resolve_id(owner)
    messages = {
        -each.id: types.Message(
            id=-each.id,
            peer_id=kind(number),
            date=each.date,
            message="",
            media=types.MessageMediaPhoto(photo=each),
        )
        for each in photos
    }
    return LoadedMessages(frozenset(messages), messages, [], [])
