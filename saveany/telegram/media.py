"""Media: one file in a message, as one account sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
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
    url: str = ""  # of a file of the web that Telegram hands on


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
    grouped_id: int | None  # the same for all files of an album, and for several in one message
    dc_id: int
    account: str  # who read it: the location is that account's
    location: Location = field(repr=False)
    chat_username: str = ""
    origin_id: int = 0  # where a forwarded message comes from, marked; 0 if Telegram does not tell
    origin_username: str = ""
    only: tuple[str, ...] = ()  # the accounts that may read it for this user; none: every account

    def source(self) -> dict[str, Any]:
        """How any account finds this file again: plain data, for `Accounts.find`."""
        return {
            "chat": self.chat_id,
            "chat_username": self.chat_username,
            "message": self.message_id,
            "document": self.document_id,
            "kind": self.kind,
            **({"only": list(self.only)} if self.only else {}),
        }

    @property
    def is_web(self) -> bool:
        """Whether it is a file of the web that Telegram hands on (upload.getWebFile)."""
        return bool(self.location.url)

    @property
    def tl_location(self) -> Any:
        """The location in Telegram's own type."""
        if self.is_web:
            return types.InputWebFileLocation(self.location.url, self.location.access_hash)
        cls = types.InputPhotoFileLocation if self.kind == "photo" else types.InputDocumentFileLocation
        where = self.location
        return cls(self.document_id, where.access_hash, where.file_reference, where.thumb)


def files_in(
    message: Any, account: str, names: Mapping[int, str] = _NO_NAMES, *, previews: bool = True
) -> list[Media]:
    """The files in a message, in order: none if it has none (or Telegram has already removed them), several
    if it is media that was paid for. `names` are the usernames of those who came with it, by marked id.
    What Telegram shows of a page that the text links to counts only with `previews`.
    """
    media = getattr(message, "media", None)
    if isinstance(media, types.MessageMediaWebPage) and not previews:
        return []
    described = map(_described, _files(message))
    files = {(each["kind"] == "photo", each["document_id"]): each for each in described}
    if not files:
        return []
    chat, origin = utils.get_peer_id(message.peer_id), _origin(message)
    common: dict[str, Any] = {
        "chat_id": chat,
        "message_id": message.id,
        "date_ms": int(message.date.timestamp() * 1000),
        "grouped_id": getattr(message, "grouped_id", None) or (message.id if len(files) > 1 else None),
        "account": account,
        "chat_username": names.get(chat, ""),
        "origin_id": origin,
        "origin_username": names.get(origin, ""),
    }
    captions = chain([getattr(message, "message", None) or ""], repeat(""))
    return [
        Media(caption=caption, **common, **each)
        for each, caption in zip(files.values(), captions, strict=False)
    ]


def price(message: Any) -> str:
    """What must still be paid for the files of a message, in words; "" if they are not locked."""
    if not any(isinstance(each, types.MessageExtendedMediaPreview) for each in _leaves(message)):
        return ""
    media = message.media
    if isinstance(media, types.MessageMediaPaidMedia):
        return f"{media.stars_amount} Stars"
    return str(getattr(media, "currency", "")) or "money"


def unread_story(message: Any) -> types.MessageMediaStory | None:
    """The story that a message quotes, if Telegram has not sent it along."""
    media = getattr(message, "media", None)
    if isinstance(media, types.MessageMediaStory) and media.story is None:
        return media
    return None


def product_picture(message: Any) -> types.WebDocument | None:
    """The picture of what an invoice is for, which Telegram hands on from the web."""
    return next((each for each in _leaves(message) if isinstance(each, types.WebDocument)), None)


def _one_of(thing: Any) -> list[Any]:
    """A file and the picture that is shown in its place, or the picture alone."""
    return [thing.document or thing.photo]


#: What may hold files -> what is in it. Of photos that move, and of videos in several versions, only the one
#: file counts that was posted.
_INSIDE: Mapping[type, Callable[[Any], Iterable[Any]]] = {
    types.Message: lambda message: [message.media, message.rich_message],
    types.RichMessage: lambda text: [*text.photos, *text.documents],
    types.MessageMediaPhoto: lambda media: [media.photo],
    types.MessageMediaDocument: lambda media: [media.document],
    types.MessageMediaPaidMedia: lambda media: media.extended_media,
    types.MessageMediaInvoice: lambda media: [media.extended_media or media.photo],
    types.MessageExtendedMedia: lambda bought: [bought.media],
    types.MessageMediaWebPage: lambda media: [media.webpage],
    types.WebPage: _one_of,
    types.MessageMediaGame: lambda media: [media.game],
    types.Game: _one_of,
    types.MessageMediaStory: lambda media: [media.story],
    types.StoryItem: lambda story: [story.media],
    types.MessageMediaPoll: lambda media: [media.attached_media, *media.poll.answers],
    types.PollAnswer: lambda answer: [answer.media],
    types.MessageService: lambda message: [message.action],
    types.MessageActionChatEditPhoto: lambda action: [action.photo],
    types.MessageActionSuggestProfilePhoto: lambda action: [action.photo],
    types.MessageActionSetChatWallPaper: lambda action: [action.wallpaper],
    types.WallPaper: lambda paper: [paper.document],
}


def _leaves(thing: Any) -> Iterator[Any]:
    """What lies in something, however deep: photos, documents, and what is not bought."""
    inside = _INSIDE.get(type(thing))
    if inside is None:
        yield thing
        return
    for each in inside(thing):
        yield from _leaves(each)


def _files(message: Any) -> Iterator[Any]:
    return (each for each in _leaves(message) if type(each) in _DESCRIBED)


def _described(file: Any) -> dict[str, Any]:
    return _DESCRIBED[type(file)](file)


def _origin(message: Any) -> int:
    forward = getattr(message, "fwd_from", None)
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
    _, size, thumb = max(map(_photo_size, photo.sizes), default=(0, 0, ""))
    return {
        "document_id": photo.id,
        "kind": "photo",
        "size": size,
        "name": None,
        "mime_type": "image/jpeg",
        "dc_id": photo.dc_id,
        "location": Location(photo.access_hash, photo.file_reference, thumb),
    }


def _web(document: types.WebDocument) -> dict[str, Any]:
    """It has no id, so its URL becomes one; in which data centre it is asked for is told elsewhere."""
    digest = hashlib.sha256(document.url.encode()).digest()
    is_picture = document.mime_type.startswith("image/")
    return {
        "document_id": int.from_bytes(digest[:8], "big") >> 1,
        "kind": "photo" if is_picture else _kind(document.attributes),
        "size": document.size,
        "name": _file_name(document.attributes),
        "mime_type": document.mime_type or "application/octet-stream",
        "dc_id": 0,
        "location": Location(document.access_hash, b"", url=document.url),
    }


_DESCRIBED: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    types.Photo: _photo,
    types.Document: _document,
    types.WebDocument: _web,
}


def _photo_size(size: Any) -> tuple[int, int, str]:
    """Pixels, bytes and letter of one size of a photo; stripped and path previews are no files."""
    if isinstance(size, types.PhotoSize):
        return size.w * size.h, size.size, size.type
    if isinstance(size, types.PhotoSizeProgressive):
        return size.w * size.h, max(size.sizes), size.type
    if isinstance(size, types.PhotoCachedSize):
        return size.w * size.h, len(size.bytes), size.type
    return 0, 0, ""


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
