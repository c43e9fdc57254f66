"""All calls of the API."""

from __future__ import annotations

import re
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final, Literal
from xml.etree.ElementTree import Element

import msgspec

from saveany.catalogue.link_models import LinkTarget
from saveany.compat.streamapi.call import StreamCall
from saveany.compat.streamapi.errors import FOREIGN, UNKNOWN, StreamApiError
from saveany.compat.streamapi.live import StreamBroadcast, StreamRecording
from saveany.compat.streamapi.xml import Value, node
from saveany.delivery.themes import THEMES
from saveany.service import OPERATOR
from saveany.service.links import LinkUrls
from saveany.store.stream_sessions import StreamSession

_PRIVATE_LETTERS: Final = string.ascii_uppercase + string.digits
_PRIVATE_LENGTH: Final = 32
#: StreamAPI permits letters and digits; usernames at Telegram may also have underscores.
_USERNAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
#: Smallest and greatest id that is generated: beyond the ids that Telegram has for chats.
_LEAST_ID, _GREATEST_ID = 10**16, 10**17 - 1
#: A time after all recordings, in ms.
_FOREVER: Final = 10**18
#: Size of the player in pixels.
_WIDTH, _HEIGHT = 640, 360


async def create_session(call: StreamCall) -> list[Element]:
    """Watch a chat for this key: the channel `username`, or the chat with the id `site_user_id`."""
    if call.text("fme_key"):
        raise StreamApiError(UNKNOWN, "SaveAny does not receive streams from encoders: leave fme_key out")
    name = call.text("username")
    if name and not _USERNAME.fullmatch(name):
        raise StreamApiError(UNKNOWN, "username may have letters, digits and underscores only")
    wanted = call.number("site_user_id", 0)
    session = await _create(call, str(wanted) if wanted else "", name)
    if session.chat:
        await call.services.live.watch(call.principal, session.chat)
    return _pair(session)


async def _create(call: StreamCall, wanted: str, name: str) -> StreamSession:
    is_private = call.text("is_video_private").lower() in ("true", "1")
    generated = _LEAST_ID + secrets.randbelow(_GREATEST_ID - _LEAST_ID)
    new = StreamSession(
        public_id=wanted or str(generated),
        private_id="".join(secrets.choice(_PRIVATE_LETTERS) for _ in range(_PRIVATE_LENGTH)),
        key_id=call.key.id,
        user_id=call.key.user_id,
        chat=name or wanted,
        name=name,
        is_private=is_private,
    )
    session = await call.services.sessions.create(new)
    if session is None or session.key_id != call.key.id:
        raise StreamApiError(FOREIGN, "this site_user_id was taken by another key")
    if session.private_id == new.private_id:
        return session
    changed = msgspec.structs.replace(new, private_id=session.private_id)
    await call.services.sessions.change(changed)
    return changed


async def live_session(call: StreamCall) -> list[Element]:
    """Whether a session is live, and since when."""
    session = await call.session()
    found = await _live(call, [session])
    if not found:
        return _fields({"is_live": False})
    return _fields({"is_live": True, **_broadcast(*found[0])})


async def live_sessions(call: StreamCall) -> list[Element]:
    """The sessions of the key that are live now."""
    sessions = await call.services.sessions.of_key(call.key.id)
    shown = []
    for session, broadcast in await _live(call, sessions):
        viewers: dict[str, Value] = {
            "total_viewers": broadcast.viewers,
            "max_viewers": broadcast.most_viewers,
            "current_viewers": broadcast.viewers,
        }
        shown.append(node("session", _broadcast(session, broadcast) | viewers))
    return [node("live_sessions", {}, shown)]


async def session_ids(call: StreamCall) -> list[Element]:
    """Both ids of a session."""
    return _pair(await call.session(foreign=FOREIGN))


async def recordings(call: StreamCall) -> list[Element]:
    """The recordings of a session, or of all sessions of the key, between two dates."""
    named = call.text("public_hostid")
    sessions = [await call.session()] if named else await call.services.sessions.of_key(call.key.id)
    by_chat = {_normal(session.chat): session for session in sessions if session.chat}
    start, end = call.number("start_date", 0), call.number("end_date", _FOREVER)
    found = await call.services.live.recordings(call.principal, start, end) if start <= end else []
    shown = [
        await _recording(call, by_chat[chat], each)
        for each in found
        if (chat := _normal(each.chat)) in by_chat
    ]
    return [node("videos", {}, shown)]


async def themes(call: StreamCall) -> list[Element]:
    """The themes of the pages of links. The address of a page is `layout_path`, the token of a link, and
    `skin_path`."""
    shown = []
    for number, name in enumerate(THEMES, 1):
        paths: dict[str, Value] = {"layout_path": f"{call.site}/s/", "skin_path": f"?theme={name}"}
        size: dict[str, Value] = {"name": name, "width": _WIDTH, "height": _HEIGHT}
        shown.append(node("theme", size | paths, id_=str(number)))
    return [node("themes", {}, shown)]


async def _live(
    call: StreamCall, sessions: list[StreamSession]
) -> list[tuple[StreamSession, StreamBroadcast]]:
    found = {_normal(each.chat): each for each in await call.services.live.broadcasts(call.principal)}
    chats = ((session, _normal(session.chat)) for session in sessions)
    return [(session, found[chat]) for session, chat in chats if chat in found]


async def _recording(call: StreamCall, session: StreamSession, recording: StreamRecording) -> Element:
    file, embed = recording.file, None
    if session.is_private:
        url = f"{call.site}/api/v1/files/{file.id}/content"
    else:
        link = await call.services.links.share(OPERATOR, file.user_id, LinkTarget(file_id=file.id))
        urls = LinkUrls(call.site, link)
        url = urls.download
        embed = f'<video controls width="{_WIDTH}" height="{_HEIGHT}" src="{escape(urls.stream)}"></video>'
    fields: dict[str, Value] = {
        "public_hostid": session.public_id,
        "duration": recording.seconds,
        "channel_id": recording.channel_id,
        "creation_date": recording.started_at,
        "filename": file.name,
        "size": file.size,
        "url": url,
        "embed_code": embed,
    }
    return node("video", fields, id_=file.id)


def _broadcast(session: StreamSession, broadcast: StreamBroadcast) -> dict[str, Value]:
    return {
        "public_hostid": session.public_id,
        "private_hostid": session.private_id,
        "username": session.name or None,
        "start_time": broadcast.started_at,
        "duration": max(0, int(time.time() - broadcast.started_at / 1000)),
        "channel_id": broadcast.channel_id,
    }


def _pair(session: StreamSession) -> list[Element]:
    return _fields({"private_hostid": session.private_id, "public_hostid": session.public_id})


def _fields(fields: Mapping[str, Value]) -> list[Element]:
    return list(node("fields", fields))


def _normal(chat: str) -> str:
    """A chat as it is compared: Telegram ignores the case of usernames."""
    return chat.lower()


@dataclass(frozen=True, slots=True)
class StreamCallSpec:
    """A call: what handles it, and what its requests must be."""

    handle: Callable[[StreamCall], Awaitable[list[Element]]]
    method: Literal["GET", "POST"] = "GET"
    required: tuple[str, ...] = ()


CALLS: Final[Mapping[str, StreamCallSpec]] = {
    "session/create": StreamCallSpec(create_session, "POST"),
    "session/live": StreamCallSpec(live_session, required=("public_hostid",)),
    "session/live/list": StreamCallSpec(live_sessions),
    "host/id/public": StreamCallSpec(session_ids, required=("private_hostid",)),
    "host/id/private": StreamCallSpec(session_ids, required=("public_hostid",)),
    "video/list": StreamCallSpec(recordings),
    "theme/list": StreamCallSpec(themes),
}
