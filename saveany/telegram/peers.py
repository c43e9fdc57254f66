"""The users and chats that come with a reply from Telegram."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from telethon import utils


def peers_in(reply: Any) -> dict[int, Any]:
    """The users and chats that came with a reply or an update, by marked id."""
    peers = (*(getattr(reply, "users", None) or ()), *(getattr(reply, "chats", None) or ()))
    return {utils.get_peer_id(each): each for each in peers}


def public_names(reply: Any) -> dict[int, str]:
    """The usernames of the users and chats that came with a reply, by marked id."""
    return {marked: public_name(each) for marked, each in peers_in(reply).items()}


def protected_chats(reply: Any) -> set[int]:
    """The chats that came with a reply and whose messages may not be copied, by marked id."""
    chats = getattr(reply, "chats", None) or ()
    return {utils.get_peer_id(each) for each in chats if getattr(each, "noforwards", False)}


def public_name(chat: Any) -> str:
    """The main username of a chat or user, which may have several; "" without one."""
    several: Iterable[Any] = getattr(chat, "usernames", None) or ()
    active = next((each.username for each in several if each.active), "")
    return getattr(chat, "username", None) or active
