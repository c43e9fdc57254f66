"""`Media`: a file in a Telegram message, as one account sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import Any, Literal, get_args

from telethon import utils
from telethon.tl import types

#: Files beside the one that was posted: in the preview of a linked page, the picture chosen for a video, the
#: video of a live photo, and the other files in Telegram's own view of a linked page.
Extra = Literal["preview", "cover", "live_video", "instant_view"]
EXTRAS: tuple[Extra, ...] = get_args(Extra)
#: Those that belong to a message if it is saved alone.
OF_ONE_MESSAGE: tuple[Extra, ...] = ("preview",)

_NO_NAMES: Mapping[int, str] = {}

#: Pixels of the largest picture that is used as a thumbnail: Telegram makes one of up to 320 x 320.
_THUMBNAIL = 320 * 320

Kind = Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]


@dataclass(frozen=True, slots=True)
class Location:
    """The arguments of upload.getFile. Access hash and file reference are valid for one account only."""

    access_hash: int
    file_reference: bytes
    thumb: str = ""  # for a photo: which of its sizes
    url: str = ""  # of a file on the web that Telegram forwards


@dataclass(frozen=True, slots=True)
class Media:
    """A file in a message. `document_id` is the same for all accounts and in all chats."""

    chat_id: int  # marked: -100… for channels and groups
    message_id: int
    document_id: int
    kind: Kind
    size: int  # bytes
    name: str | None  # given by the sender, not safe as a path; None for photos and most voice messages
    mime_type: str
    caption: str
    date_ms: int
    grouped_id: int | None  # the same for all files of an album, and for several in one message
    dc_id: int
    account: str  # the account that read the message; `location` is valid for this account only
    location: Location = field(repr=False)
    chat_username: str = ""
    origin_id: int = 0  # marked id of the chat a forwarded message comes from; 0 if unknown
    origin_username: str = ""
    only: tuple[str, ...] = ()  # the accounts that may read it for this user; empty: all accounts
    comment_on: tuple[int, int] | None = (
        None  # channel (marked id) and post, if it can only be read as a comment
    )
    extra: Extra | None = None  # set if it is not the file that was posted
    takeout: int = 0  # the takeout in which `account` reads it; 0: none
    is_protected: bool = False  # whether it may not be forwarded or sent again
    thumbnail: tuple[str, int] | None = None  # type letter and bytes of the picture that `thumbnail_of` is
    is_thumbnail: bool = False  # it is itself that picture of the file

    def source(self) -> dict[str, Any]:
        """Plain data with which any account can find this file again; see `Accounts.find`."""
        return {
            "chat": self.chat_id,
            "chat_username": self.chat_username,
            "message": self.message_id,
            "document": self.document_id,
            "kind": self.kind,
            "mime": self.mime_type,
            "dc": self.dc_id,
            **({"only": list(self.only)} if self.only else {}),
            **({"comment_on": list(self.comment_on)} if self.comment_on else {}),
        }

    @property
    def is_web(self) -> bool:
        """Whether Telegram forwards this file from the web (upload.getWebFile)."""
        return bool(self.location.url)

    @property
    def tl_location(self) -> Any:
        """The location in Telegram's own type."""
        if self.is_web:
            return types.InputWebFileLocation(self.location.url, self.location.access_hash)
        cls = types.InputPhotoFileLocation if self.kind == "photo" else types.InputDocumentFileLocation
        location = self.location
        return cls(self.document_id, location.access_hash, location.file_reference, location.thumb)


def thumbnail_of(media: Media) -> Media | None:
    """Telegram's own small JPEG picture of a file; None if there is none."""
    if media.thumbnail is None:
        return None
    letter, size = media.thumbnail
    location = replace(media.location, thumb=letter)
    return replace(media, size=size, mime_type="image/jpeg", location=location, is_thumbnail=True)


def files_in(
    message: Any,
    account: str,
    names: Mapping[int, str] = _NO_NAMES,
    *,
    extras: Collection[str] = OF_ONE_MESSAGE,
) -> list[Media]:
    """The files in a message, in order. Empty if it has no file or Telegram has deleted it; several for paid
    media.

    `names`: marked id -> username of the chats and users that came with the message.
    """
    found = ((extra, file) for extra, file in _files(message) if extra is None or extra in extras)
    descriptions = ({"extra": extra, **_described(file)} for extra, file in found)
    files: dict[tuple[bool, int], dict[str, Any]] = {}
    for each in descriptions:  # the picture of a preview is usually part of the page, too
        files.setdefault((each["kind"] == "photo", each["document_id"]), each)
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
        "is_protected": bool(getattr(message, "noforwards", False)),
    }
    captions = chain([getattr(message, "message", None) or ""], repeat(""))
    return [
        Media(caption=caption, **common, **each)
        for each, caption in zip(files.values(), captions, strict=False)
    ]


def price(message: Any) -> str:
    """The price of the files of a message, as text; "" if they are not locked."""
    if not any(isinstance(each, types.MessageExtendedMediaPreview) for _, each in _leaves(message)):
        return ""
    media = message.media
    if isinstance(media, types.MessageMediaPaidMedia):
        return f"{media.stars_amount} Stars"
    return str(getattr(media, "currency", "")) or "money"


def is_partial(message: Any) -> bool:
    """Whether Telegram has sent only the beginning of the rich text of a message."""
    text = getattr(message, "rich_message", None)
    return isinstance(text, types.RichMessage) and bool(text.part)


def story_without_content(message: Any) -> types.MessageMediaStory | None:
    """The story that a message quotes, if the message came without its contents."""
    media = getattr(message, "media", None)
    if isinstance(media, types.MessageMediaStory) and media.story is None:
        return media
    return None


def product_picture(message: Any) -> types.WebDocument | None:
    """The product picture of an invoice, which Telegram forwards from the web."""
    return next((each for _, each in _leaves(message) if isinstance(each, types.WebDocument)), None)


def _in_page(page: types.Page | None) -> list[Any]:
    """The files in Telegram's own view of a linked page."""
    return [*page.photos, *page.documents] if page else []


def _main_file(thing: Any) -> list[Any]:
    """The document, or the photo if there is no document; a photo beside a document is only its preview."""
    return [thing.document or thing.photo]


#: Type that may contain files -> its contents. Videos in several qualities count as the one file that was
#: posted.
_INSIDE: Mapping[type, Callable[[Any], Iterable[Any]]] = {
    types.Message: lambda message: [message.media, message.rich_message],
    types.RichMessage: lambda text: [*text.photos, *text.documents],
    types.MessageMediaPhoto: lambda media: [media.photo],
    types.MessageMediaDocument: lambda media: [media.document],
    types.MessageMediaPaidMedia: lambda media: media.extended_media,
    types.MessageMediaInvoice: lambda media: [media.extended_media or media.photo],
    types.MessageExtendedMedia: lambda bought: [bought.media],
    types.MessageMediaWebPage: lambda media: [media.webpage],
    types.WebPage: _main_file,
    types.MessageMediaGame: lambda media: [media.game],
    types.Game: _main_file,
    types.MessageMediaStory: lambda media: [media.story],
    types.StoryItem: lambda story: [story.media],
    types.MessageMediaPoll: lambda media: [
        media.attached_media,
        *media.poll.answers,
        media.results.solution_media,
    ],
    types.PollAnswer: lambda answer: [answer.media],
    types.MessageService: lambda message: [message.action],
    types.MessageActionChatEditPhoto: lambda action: [action.photo],
    types.MessageActionSuggestProfilePhoto: lambda action: [action.photo],
    types.MessageActionSetChatWallPaper: lambda action: [action.wallpaper],
    types.WallPaper: lambda paper: [paper.document],
}


#: Type that contains such files -> them.
_BESIDE: Mapping[type, Callable[[Any], Iterable[tuple[Extra, Any]]]] = {
    types.MessageMediaDocument: lambda media: [("cover", media.video_cover)],
    types.MessageMediaPhoto: lambda media: [("live_video", media.video)],
    types.WebPage: lambda page: [("instant_view", each) for each in _in_page(page.cached_page)],
}


def _leaves(thing: Any, extra: Extra | None = None) -> Iterator[tuple[Extra | None, Any]]:
    """All photos, documents and locked media in a TL object, at any depth."""
    kind = type(thing)
    if kind not in _INSIDE:
        yield extra, thing
        return
    for each in _INSIDE[kind](thing):
        yield from _leaves(each, "preview" if kind is types.MessageMediaWebPage else extra)
    if kind in _BESIDE:
        yield from _BESIDE[kind](thing)


def _files(message: Any) -> Iterator[tuple[Extra | None, Any]]:
    return ((extra, each) for extra, each in _leaves(message) if type(each) in _DESCRIBED)


def _described(file: Any) -> dict[str, Any]:
    return _DESCRIBED[type(file)](file)


def _origin(message: Any) -> int:
    forward = getattr(message, "fwd_from", None)
    return utils.get_peer_id(forward.from_id) if forward and forward.from_id else 0


def captioned(album: Iterable[Media]) -> list[Media]:
    """The files of an album, each with the caption, which Telegram attaches to only one of them."""
    files = list(album)
    text = next((each.caption for each in files if each.caption), "")
    return [each if each.caption or not text else replace(each, caption=text) for each in files]


def _document(document: types.Document) -> dict[str, Any]:
    return {
        "document_id": document.id,
        "kind": _kind(document.attributes),
        "size": document.size,
        "name": _file_name(document.attributes),
        "mime_type": document.mime_type or "application/octet-stream",
        "dc_id": document.dc_id,
        "location": Location(document.access_hash, document.file_reference),
        "thumbnail": _thumbnail(document.thumbs or ()),
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
        "thumbnail": _thumbnail(photo.sizes),
    }


def _web(document: types.WebDocument) -> dict[str, Any]:
    """The id is derived from the URL, because a web document has none. The caller fills in the data
    center."""
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
    """Pixels, bytes and type letter of one size of a photo. Stripped and path previews count as 0 pixels."""
    if isinstance(size, types.PhotoSize):
        return size.w * size.h, size.size, size.type
    if isinstance(size, types.PhotoSizeProgressive):
        return size.w * size.h, max(size.sizes), size.type
    if isinstance(size, types.PhotoCachedSize):
        return size.w * size.h, len(size.bytes), size.type
    return 0, 0, ""


def _thumbnail(sizes: Iterable[Any]) -> tuple[str, int] | None:
    """The largest size of at most `_THUMBNAIL` pixels, else the smallest one."""
    known = sorted(each for each in map(_photo_size, sizes) if each[0])
    if not known:
        return None
    _, size, letter = max((each for each in known if each[0] <= _THUMBNAIL), default=known[0])
    return letter, size


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
