"""Messages as records of JSON: the names are those of Telegram Desktop's export, with what that lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from telethon import utils
from telethon.tl import types

from saveany.telegram.peers import peers_in

if TYPE_CHECKING:
    from saveany.telegram.history import ReadMessage

#: Kind of a file -> what Telegram Desktop calls it; it has no name for documents.
_MEDIA_TYPES = {
    "video": "video_file",
    "audio": "audio_file",
    "voice": "voice_message",
    "video_note": "video_message",
    "animation": "animation",
    "sticker": "sticker",
}
_PREFIXES = {types.PeerUser: "user", types.PeerChat: "chat", types.PeerChannel: "channel"}

Record = dict[str, Any]


def records_of(messages: Sequence[ReadMessage], reply: Any, post: int = 0) -> dict[int, Record]:
    """The record of each message, by id. `reply` is that of Telegram with which they came; `post` the post on
    which they are comments."""
    names = {marked: utils.get_display_name(peer) for marked, peer in peers_in(reply).items()}
    return {each.id: dict(_fields(each, names, post)) for each in messages}


def _fields(message: ReadMessage, names: Mapping[int, str], post: int) -> Iterator[tuple[str, Any]]:
    raw = message.raw
    service = isinstance(raw, types.MessageService)
    yield "id", message.id
    yield "type", "service" if service else "message"
    yield from _time("date", message.date_ms)
    if message.edited_ms:
        yield from _time("edited", message.edited_ms)
    yield from _person("from", getattr(raw, "from_id", None) or (raw.peer_id if raw.post else None), names)
    if reply := getattr(getattr(raw, "reply_to", None), "reply_to_msg_id", None):
        yield "reply_to_message_id", reply
    if forward := getattr(raw, "fwd_from", None):
        yield "forwarded_from", names.get(_marked(forward.from_id), forward.from_name or "")
    if service:
        yield "action", type(raw.action).__name__.removeprefix("MessageAction")
    yield "text", getattr(raw, "message", None) or ""
    for name, value in (("topic_id", message.topic), ("comment_on", post)):
        if value:
            yield name, value
    if message.media:
        yield from _file(message)


def _file(message: ReadMessage) -> Iterator[tuple[str, Any]]:
    first = message.media[0]
    if first.kind in _MEDIA_TYPES:
        yield "media_type", _MEDIA_TYPES[first.kind]
    if first.name:
        yield "file_name", first.name
    yield "mime_type", first.mime_type
    yield "document_id", first.document_id
    if first.grouped_id and first.grouped_id != message.id:
        yield "album_id", first.grouped_id


def _time(name: str, milliseconds: int) -> Iterator[tuple[str, Any]]:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    yield name, moment.isoformat().removesuffix("+00:00")  # as Telegram Desktop: without a zone
    yield f"{name}_unixtime", str(milliseconds // 1000)


def _person(name: str, peer: Any, names: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    if peer is None:
        return
    marked = _marked(peer)
    yield name, names.get(marked, "")
    yield f"{name}_id", f"{_PREFIXES[type(peer)]}{utils.resolve_id(marked)[0]}"


def _marked(peer: Any) -> int:
    return int(utils.get_peer_id(peer)) if peer else 0
