"""Links, and what they lead to. Nothing here needs a database."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from saveany.planning.names import name_of

if TYPE_CHECKING:
    from saveany.telegram.media import Media


class State(StrEnum):
    """Whether a link works, or why not."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED_UP = "used_up"  # it has been downloaded as often as it may be
    GONE = "gone"  # its file is in the trash


class LinkedFile(msgspec.Struct, frozen=True):
    """A file of the catalogue, as far as its delivery needs it."""

    id: str
    name: str
    size: int  # bytes
    mime: str
    sha256: str  # hexadecimal; "" if it is unknown
    storage: str
    path: str  # of the copy in the storage
    user_id: int
    added_at: int  # ms
    reference: dict[str, Any] | None = None  # as in `Receipt`, if the storage needs it
    origin: dict[str, Any] | None = None  # as `Media.source`, if it came from Telegram
    missing_at: int | None = None  # its copy was found deleted or changed from outside


class TelegramMedia(msgspec.Struct, frozen=True):
    """A file in a Telegram message that was not saved."""

    source: dict[str, Any]  # as `Media.source`
    size: int  # bytes
    mime: str
    name: str = ""  # safe; "" if it is unknown


class Link(msgspec.Struct, frozen=True):
    """A link, and the file or folder that it leads to. Times are ms since the epoch."""

    token: str
    user_id: int
    name: str
    made_at: int
    state: State
    file: LinkedFile | None = None
    folder_id: int | None = None
    media: TelegramMedia | None = None
    inline: bool = False
    redirect: bool = False  # to a presigned URL of the storage, if the configuration allows it
    expires_at: int | None = None
    revoked_at: int | None = None
    max_downloads: int | None = None
    password: str = ""  # hash; "" for none
    downloads: int = 0
    bytes_sent: int = 0
    used_at: int | None = None


class FolderFiles(msgspec.Struct, frozen=True):
    """The files in a folder and below, with their paths from there."""

    files: list[tuple[str, LinkedFile]]
    is_complete: bool  # there are no more


class LinkTarget(msgspec.Struct, frozen=True):
    """What a new link leads to: exactly one of the three."""

    file_id: str | None = None
    folder_id: int | None = None
    media: TelegramMedia | None = None


class LinkPage(msgspec.Struct, frozen=True):
    """A page of links. `cursor` leads to the next page; it is empty on the last one."""

    links: list[Link]
    cursor: str


def media_of(found: Media) -> TelegramMedia:
    """A file that an account has found in a message."""
    return TelegramMedia(found.source(), found.size, found.mime_type, name_of(found))
