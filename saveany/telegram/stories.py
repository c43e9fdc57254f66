"""Stories of users and channels, as messages with negative ids: message ids are positive, and both appear in
one chat. Only user accounts can read them; nothing is marked as seen (https://core.telegram.org/api/stories).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from telethon import utils
from telethon.tl import functions, types

from saveany.telegram.chats import ChatFinder, ChatNotVisible
from saveany.telegram.message_loader import LoadedMessages
from saveany.texts import Text

#: Maximum number of stories in one reply.
_PAGE = 100


async def load_stories(chats: ChatFinder, owner: int, numbers: Collection[int]) -> LoadedMessages:
    """Those stories of a user or channel (marked id) that exist, by their negative ids."""
    peer = await chats.input_peer(owner)
    reply = await chats.call(functions.stories.GetStoriesByIDRequest(peer, list(numbers)))
    return _loaded(owner, reply.stories, reply)


async def all_stories(chats: ChatFinder, owner: int, username: str = "") -> LoadedMessages:
    """The current and the pinned stories of a channel (marked id), by their negative ids."""
    peer = await chats.input_peer(owner, username)
    current = await chats.call(functions.stories.GetPeerStoriesRequest(peer))
    found, offset, before = list(current.stories.stories), 0, -1
    while offset != before:
        page = await chats.call(functions.stories.GetPinnedStoriesRequest(peer, offset, _PAGE))
        found += page.stories
        before, offset = offset, page.stories[-1].id if page.stories else offset
    skipped = [each.id for each in found if isinstance(each, types.StoryItemSkipped)]
    shown = _loaded(owner, found, current)
    for start in range(0, len(skipped), _PAGE):
        shown |= await load_stories(chats, owner, skipped[start : start + _PAGE])
    return shown


async def owner_of(chats: ChatFinder, named: str | int, username: str = "") -> int:
    """The marked id of the user or channel that a link to a story names."""
    if isinstance(named, str):
        return await chats.marked_id(f"@{named}")
    channel = await chats.find(named, username)
    return int(utils.get_peer_id(types.PeerChannel(channel.channel_id)))


def check_reader(is_bot: bool) -> None:
    """Raise `ChatNotVisible` for a bot."""
    if is_bot:
        raise ChatNotVisible(Text("bots cannot read stories"))


def _loaded(owner: int, stories: Iterable[Any], reply: Any) -> LoadedMessages:
    number, kind = utils.resolve_id(owner)
    peer = kind(number)
    shown = [each for each in stories if isinstance(each, types.StoryItem)]
    messages = {
        -each.id: types.Message(
            id=-each.id,
            peer_id=peer,
            date=each.date,
            message=each.caption or "",
            media=types.MessageMediaStory(peer, each.id, story=each),
            noforwards=each.noforwards,
        )
        for each in shown
    }
    return LoadedMessages(frozenset(messages), messages, list(reply.users), list(reply.chats))
