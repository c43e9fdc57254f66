"""What the receipt of an archive consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from saveany.texts import Text

#: Above all marked ids.
_COMMENTS = 2**62


class MessageOutcome(StrEnum):
    """What became of a message with files."""

    PENDING = "pending"
    SAVED = "saved"
    DUPLICATE = "duplicate"  # the same file was saved before
    FILTERED = "filtered"  # by the filter of the archive
    GONE = "gone"  # deleted before it was read
    LOCKED = "locked"  # paid media that was not bought
    EXPIRED = "expired"  # self-destructing, or an expired story
    PROTECTED = "protected"  # may not be copied within Telegram
    FAILED = "failed"


def comments_key(post: int) -> int:
    """The number under which the comments on a post of an archive are counted, beside the marked ids of
    chats: those of different posts alternate in the discussion group."""
    return _COMMENTS + post


#: As `comments_key`, for stories and profile photos: no post has these ids.
STORIES, PROFILE_PHOTOS = comments_key(0), comments_key(-1)


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """A message with files."""

    chat: int  # marked
    message: int
    outcome: MessageOutcome
    reason: Text | None = None
    task_id: str = ""  # the task that saves it; "" if there is none
    file_id: str = ""  # of a saved file, or of the one that was saved before
    edited_at: int = 0  # ms; 0 if it was not edited
    topic: int = 0  # topic of a forum, or post with its comments, that has a folder; 0 if there are none
    size: int = 0  # of all its files together, in bytes


@dataclass(frozen=True, slots=True)
class ArchivedCopy:
    """The copy of a file of a message."""

    file_id: str
    storage: str
    path: str
    size: int  # bytes, as recorded
    sha256: str  # "" if it is not known


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page of a chat that was read."""

    chat: int  # marked, a `comments_key`, `STORIES` or `PROFILE_PHOTOS`
    last: int  # up to this message
    total: int  # number of messages of the chat, according to Telegram
    with_media: Sequence[ArchivedMessage]
    without_media: Sequence[int]  # ids, ascending
    texts: Mapping[int, dict[str, Any]] = field(default_factory=dict)  # records of messages, by id
    text_chat: int = 0  # the chat (marked id) of `texts`


@dataclass(frozen=True, slots=True)
class ArchiveReceipt:
    """The numbers of the messages of an archive."""

    telegram_total: int = 0
    without_media: int = 0
    outcomes: Mapping[MessageOutcome, int] = field(default_factory=dict)
    bytes: int = 0  # of saved files

    def __getitem__(self, outcome: MessageOutcome) -> int:
        """The number of messages with that outcome."""
        return self.outcomes.get(outcome, 0)

    def counts(self) -> dict[str, int]:
        """All numbers by name."""
        named = {outcome.value: self[outcome] for outcome in MessageOutcome}
        return {
            "telegram_total": self.telegram_total,
            "without_media": self.without_media,
            **{name: named[name] for name in (*list(named)[1:], "pending")},
        }

    @property
    def accounted(self) -> int:
        """The number of messages that the receipt accounts for."""
        return self.without_media + sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class MessagesPage:
    """A page of messages. `cursor` leads to the next page; it is empty on the last one."""

    messages: list[ArchivedMessage]
    cursor: str
