"""The chats of a user account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from telethon import utils
from telethon.tl import types

from saveany.telegram.chats import ChatFinder
from saveany.telegram.peers import peers_in, public_name

DialogKind = Literal["channel", "group", "person", "bot", "saved"]

#: Maximum number of chats that are listed; each hundred is a request that Telegram limits.
_MAX_DIALOGS = 1_000


@dataclass(frozen=True, slots=True)
class Dialog:
    """A chat in the list of an account."""

    chat: int  # marked: -100… for channels and supergroups
    title: str
    username: str  # "" if it has none
    kind: DialogKind
    last_ms: int  # when its newest message was posted; 0 if it has none


async def dialogs(chats: ChatFinder) -> list[Dialog]:
    """The chats of the account, those with the newest messages first, at most 1,000."""
    found: dict[int, Dialog] = {}
    async for reply in chats.dialogs():
        found |= {each.chat: each for each in _dialogs(reply)}
        if len(found) >= _MAX_DIALOGS:
            break
    return list(found.values())[:_MAX_DIALOGS]


def _dialogs(reply: Any) -> Iterator[Dialog]:
    peers = peers_in(reply)
    tops = {(utils.get_peer_id(each.peer_id), each.id): each.date for each in reply.messages}
    for dialog in reply.dialogs:
        marked = utils.get_peer_id(dialog.peer)
        peer, top = peers.get(marked), tops.get((marked, dialog.top_message))
        if peer is None or getattr(peer, "migrated_to", None):
            continue
        last_ms = int(top.timestamp() * 1000) if top else 0
        title = utils.get_display_name(peer) or str(marked)
        yield Dialog(marked, title, public_name(peer), _kind(peer), last_ms)


def _kind(peer: Any) -> DialogKind:
    if isinstance(peer, types.User):
        return "saved" if peer.is_self else "bot" if peer.bot else "person"
    return "channel" if getattr(peer, "broadcast", False) else "group"
