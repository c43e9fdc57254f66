"""What a storage asks of Telegram: parts of files, and messages made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from saveany.errors import Retryable, StorageUnavailable
from storages.video import Video

#: The largest part that Telegram takes, in bytes (https://core.telegram.org/api/files).
PART: Final = 512 << 10


#: A file of more bytes is sent in parts that name their number; a smaller one by its MD5.
BIG: Final = 10 << 20


#: The most messages of one album.
ALBUM: Final = 10


class FloodWait(StorageUnavailable, Retryable):
    """Telegram asks to wait; `after` says how long."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who sends, and where to."""

    account: str  # "" is the one that is configured first; for the Saved Messages, the first user
    chat: str  # `me`, @name, -100… of a channel or group, -… of a small group, or the id of a person
    topic: int | None = None

    def link(self, message: int) -> str:
        """Of a message there; "" in chats whose messages have none: those of persons and of small groups."""
        if self.chat.startswith("-100"):
            return f"https://t.me/c/{self.chat.removeprefix('-100')}/{message}"
        name = self.chat.removeprefix("@")
        return f"https://t.me/{name}/{message}" if name[:1].isalpha() and name != "me" else ""


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A piece of a file: `PART` bytes, or the last ones."""

    file: int  # the number under which the parts of the file are uploaded
    number: int
    total: int
    data: bytes = field(repr=False)
    big: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A file whose parts Telegram has, as a message."""

    random_id: int  # Telegram takes it once
    file: int
    parts: int
    big: bool
    name: str
    mime_type: str
    caption: str
    md5: str = ""  # of a small file, if it is known
    video: Video | None = None  # to be shown as a video


class MessageSender(Protocol):
    """Brings files to Telegram: `saveany.telegram.uploads`. Raises `TaskError`s."""

    async def largest(self, target: Target) -> int:
        """Bytes of the largest file that the account may send."""

    async def upload(self, target: Target, part: DocumentPart) -> None:
        """Bring one part; again is harmless."""

    async def send(self, target: Target, documents: Sequence[Document]) -> Mapping[int, int] | None:
        """Send one message, or several as an album. By its random id the id of each that was sent now: what
        was sent before is not sent again. None if one was neither, as parts of it are missing."""

    async def delete(self, target: Target, messages: Sequence[int]) -> None:
        """Delete messages of the account, for everybody."""

    async def check(self, target: Target) -> None:
        """Raises if the account does not see the chat."""

    async def reach(self, account: str, *, user: bool) -> None:
        """Raises if that account (as in `Target`; a user's, if it must be) has no connection now, and gets
        none at once."""
