"""The posts of a page of messages: single messages with files, and albums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from saveany.filters import Filter
from saveany.store.archives import is_channel
from saveany.telegram.history import ReadMessage
from saveany.telegram.links import MessageLink, message_link, photo_link
from saveany.telegram.media import Media, captioned
from saveany.telegram.profile_photos import PHOTOS_BELOW

_BOT_API_OFFSET = 10**12


@dataclass(frozen=True, slots=True)
class Post:
    """The messages of an album, or a single message; each has, or had, files."""

    messages: list[ReadMessage]

    @property
    def first(self) -> int:
        """The id of its first message."""
        return self.messages[0].id

    @property
    def last(self) -> int:
        """The id of its last message."""
        return self.messages[-1].id

    @property
    def topic(self) -> int:
        """The topic of a forum that it is in; the first one has the id 1."""
        return self.messages[0].topic or 1

    @property
    def is_album(self) -> bool:
        """Whether it is an album, to which further messages may belong."""
        return _album(self.messages[0]) is not None

    def wanted(self, accepts: Filter) -> list[Media]:
        """Its files that pass a filter. Each has the text of the album."""
        return [each for each in self.files() if accepts.accepts(each)]

    def files(self) -> list[Media]:
        """All of its files, each with the text of the album."""
        return captioned(media for message in self.messages for media in message.media)


def posts_in(messages: Iterable[ReadMessage]) -> list[Post]:
    """The posts with files in consecutive messages, oldest first."""
    with_media = [each for each in messages if each.has_media]
    return [Post(list(each)) for _, each in groupby(with_media, key=lambda m: _album(m) or -m.id)]


def _album(message: ReadMessage) -> int | None:
    """The id of the album that the message is part of. Several files of one message are no album."""
    grouped_id = message.media[0].grouped_id if message.media else None
    return grouped_id if grouped_id != message.id else None


def links_to(files: Sequence[Media]) -> list[str]:
    """Links to exactly these files, one for each run of consecutive messages.

    They contain the id of the chat: its username may belong to another chat when the task starts. Messages of
    private chats and basic groups have a link each.
    """
    by_message = {each.message_id: each for each in files}.values()
    if not is_channel(files[0].chat_id):
        return [message_link(each.chat_id, each.message_id) for each in by_message]
    numbered = enumerate(by_message)
    runs = ([media for _, media in run] for _, run in groupby(numbered, key=lambda p: p[1].message_id - p[0]))
    return [_link(run) for run in runs]


def _link(run: Sequence[Media]) -> str:
    first, last = run[0], run[-1]
    return MessageLink(
        chat=-first.chat_id - _BOT_API_OFFSET,
        message=first.message_id,
        last=last.message_id if last is not first else None,
        single=last is first and first.grouped_id is not None,
    ).url


def link_to(chat: int, message: int) -> str:
    """A link to one message of a chat (marked id), or to the story or profile photo that has its id in an
    archive."""
    if message > 0:
        return message_link(chat, message)
    if message < PHOTOS_BELOW:
        return photo_link(chat, -message)
    return MessageLink(chat=-chat - _BOT_API_OFFSET, message=-message, story=True, single=True).url


def comment_link(channel: int, post: int, message: int) -> str:
    """A link to one comment on a post of a channel (marked id)."""
    return MessageLink(chat=-channel - _BOT_API_OFFSET, message=post, comment=message, single=True).url
