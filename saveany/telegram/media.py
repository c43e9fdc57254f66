"""Media: one file in a message, as one account sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from telethon import utils
from telethon.tl import types

_NO_NAMES: Mapping[int, str] = {}

Kind = Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]


@dataclass(frozen=True, slots=True)
class Location:
    """What upload.getFile wants to know; hash and reference are worth something to one account only."""

    access_hash: int
    file_reference: bytes
    thumb: str = ""  # for a photo: which of its sizes


@dataclass(frozen=True, slots=True)
class Media:
    """A file in a message. `document_id` is the same for all accounts and in all chats."""

    chat_id: int  # marked: -100… for channels and groups
    message_id: int
    document_id: int
    kind: Kind
    size: int  # bytes
    name: str | None  # as the sender gave it, not safe as a path; None for photos and most voice messages
    mime_type: str
    caption: str
    date_ms: int
    grouped_id: int | None  # the same for all files of an album
    dc_id: int
    account: str  # who read it: the location is that account's
    location: Location = field(repr=False)
    chat_username: str = ""
    origin_id: int = 0  # where a forwarded message comes from, marked; 0 if Telegram does not tell
    origin_username: str = ""

    def source(self) -> dict[str, Any]:
        """How any account finds this file again: plain data, for `Accounts.find`."""
        return {
            "chat": self.chat_id,
            "chat_username": self.chat_username,
            "message": self.message_id,
            "document": self.document_id,
            "kind": self.kind,
        }

    @property
    def tl_location(self) -> types.InputDocumentFileLocation | types.InputPhotoFileLocation:
        """The location in Telegram's own type."""
        cls = types.InputPhotoFileLocation if self.kind == "photo" else types.InputDocumentFileLocation
        where = self.location
        return cls(self.document_id, where.access_hash, where.file_reference, where.thumb)


def from_message(message: types.Message, account: str, names: Mapping[int, str] = _NO_NAMES) -> Media | None:
    """The file in a message, None if it has none (or Telegram has already removed it). `names` are the
    usernames of those who came with it, by marked id."""
    media = message.media
    if isinstance(media, types.MessageMediaPhoto) and isinstance(media.photo, types.Photo):
        what = _photo(media.photo)
    elif isinstance(media, types.MessageMediaDocument) and isinstance(media.document, types.Document):
        what = _document(media.document)
    else:
        return None
    chat, origin = utils.get_peer_id(message.peer_id), _origin(message)
    return Media(
        chat_id=chat,
        message_id=message.id,
        caption=message.message or "",
        date_ms=int(message.date.timestamp() * 1000),
        grouped_id=message.grouped_id,
        account=account,
        chat_username=names.get(chat, ""),
        origin_id=origin,
        origin_username=names.get(origin, ""),
        **what,
    )


def _origin(message: types.Message) -> int:
    forward = message.fwd_from
    return utils.get_peer_id(forward.from_id) if forward and forward.from_id else 0


def captioned(album: Iterable[Media]) -> list[Media]:
    """The files of an album, each with the text that Telegram puts beside one of them only."""
    files = list(album)
    text = next((each.caption for each in files if each.caption), "")
    return [replace(each, caption=each.caption or text) for each in files]


def _document(document: types.Document) -> dict[str, Any]:
    return {
        "document_id": document.id,
        "kind": _kind(document.attributes),
        "size": document.size,
        "name": _file_name(document.attributes),
        "mime_type": document.mime_type or "application/octet-stream",
        "dc_id": document.dc_id,
        "location": Location(document.access_hash, document.file_reference),
    }


def _photo(photo: types.Photo) -> dict[str, Any]:
    size, thumb = max((_photo_size(each) for each in photo.sizes), default=(0, ""))
    return {
        "document_id": photo.id,
        "kind": "photo",
        "size": size,
        "name": None,
        "mime_type": "image/jpeg",
        "dc_id": photo.dc_id,
        "location": Location(photo.access_hash, photo.file_reference, thumb),
    }


def _photo_size(size: Any) -> tuple[int, str]:
    """Bytes and letter of one size of a photo; stripped and path previews are no files."""
    if isinstance(size, types.PhotoSize):
        return size.size, size.type
    if isinstance(size, types.PhotoSizeProgressive):
        return max(size.sizes), size.type
    if isinstance(size, types.PhotoCachedSize):
        return len(size.bytes), size.type
    return 0, ""


def _kind(attributes: Iterable[Any]) -> Kind:
    found = {type(each): each for each in attributes}
    if types.DocumentAttributeSticker in found:
        return "sticker"
    if types.DocumentAttributeAnimated in found:
        return "animation"
    if video := found.get(types.DocumentAttributeVideo):
        return "video_note" if video.round_message else "video"
    if audio := found.get(types.DocumentAttributeAudio):
        return "voice" if audio.voice else "audio"
    return "document"


def _file_name(attributes: Iterable[Any]) -> str | None:
    names = (each.file_name for each in attributes if isinstance(each, types.DocumentAttributeFilename))
    return next(names, None) or None
