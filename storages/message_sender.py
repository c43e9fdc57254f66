"""Parts of files, messages with files, and the interface through which a storage sends them to Telegram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from storages.base import NoReference
from storages.media import MediaProperties

#: Bytes of a part, the maximum that Telegram accepts (https://core.telegram.org/api/files).
PART: Final = 512 << 10


@dataclass(frozen=True, slots=True)
class Target:
    """The sending account and the chat."""

    account: str  # "": the first configured one; for the Saved Messages, the first user
    chat: str  # `me`, @name, -100… for a channel or group, -… for a small group, or the id of a user
    topic: int | None = None

    def link(self, message: int) -> str:
        """The link to a message of the chat; "" for private chats and small groups, whose messages have
        none."""
        if self.chat.startswith("-100"):
            return f"https://t.me/c/{self.chat.removeprefix('-100')}/{message}"
        name = self.chat.removeprefix("@")
        return f"https://t.me/{name}/{message}" if name[:1].isalpha() and name != "me" else ""


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A part of a file: `PART` bytes, except the last one."""

    file: int  # the number of the file, common to its parts
    number: int
    total: int
    data: bytes = field(repr=False)
    big: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A message with a file whose parts were uploaded."""

    random_id: int  # Telegram accepts it once
    file: int
    parts: int
    big: bool
    name: str
    mime_type: str
    caption: str
    md5: str = ""  # of a small file, if known
    #: As what Telegram is to show it; None: as a plain file. What Telegram refuses is sent as a plain file.
    properties: MediaProperties | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that was sent."""

    id: int
    account: str  # that sent it
    source: Mapping[str, Any]  # what finds its file again (`Media.source`); empty if Telegram did not say
    size: int = 0  # bytes of that file; a photo has others than were uploaded
    refused: str = ""  # Telegram's reason if it has become a plain file instead of what it was to be

    @property
    def is_photo(self) -> bool:
        """Whether Telegram has compressed the file again."""
        return self.source.get("kind") == "photo"


class MessageSender(Protocol):
    """Sends files to Telegram (`saveany.telegram.uploads`). Raises subclasses of `TaskError`."""

    async def largest(self, target: Target) -> int:
        """The maximum bytes of a file that the account may send."""

    async def upload(self, target: Target, part: DocumentPart) -> None:
        """Upload one part; repeating it is harmless."""

    async def refer(self, target: Target, file: int, source: Mapping[str, Any]) -> NoReference | None:
        """Let the file of a message (`Media.source`) stand for the parts of `file`, which need not be
        uploaded then. Returns why that is not possible, None if it is."""

    async def send(self, target: Target, documents: Sequence[Document]) -> Mapping[int, SentMessage] | None:
        """Send one message, or several as an album. Returns the messages sent now, by random id; messages
        that were sent before are skipped. None if parts of one are missing."""

    async def delete(self, account: str, source: Mapping[str, Any]) -> None:
        """Delete a message (`SentMessage.source`) that the account has sent, for all members, if it still has
        that file."""

    async def check(self, target: Target) -> None:
        """Raise an error if the account does not see the chat."""

    async def newest(self, target: Target, enough: int) -> int:
        """The id of the newest message of a channel or group, or a number between it and `enough`; 0 for
        chats that Telegram does not limit."""

    async def reach(self, account: str, *, user: bool) -> None:
        """Raise an error if an account (as in `Target`; with `user`, one of a user) is not connected and
        cannot connect at once."""
