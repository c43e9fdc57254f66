"""What the API needs to know about live streams and their recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from saveany.catalogue.models import SavedFile
from saveany.service import Principal


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A chat that is live now. Times are ms."""

    chat: str  # as it is watched: its username, or its id
    channel_id: int
    started_at: int
    viewers: int
    most_viewers: int


@dataclass(frozen=True, slots=True)
class LiveRecording:
    """A recording. Times are ms."""

    chat: str  # as it is watched
    channel_id: int
    started_at: int
    seconds: int
    file: SavedFile


class LiveChats(Protocol):
    """Watches chats, and records them when they go live."""

    async def watch(self, principal: Principal, chat: str) -> None:
        """Record this chat from now on when it goes live."""

    async def broadcasts(self, principal: Principal) -> list[Broadcast]:
        """The watched chats that are live now."""

    async def recordings(self, principal: Principal, start: int, end: int) -> list[LiveRecording]:
        """The recordings that began between two times, inclusive, oldest first."""


class NothingLive:
    """Watches nothing: there is no source that records yet."""

    async def watch(self, principal: Principal, chat: str) -> None:
        """See `LiveChats.watch`."""

    async def broadcasts(self, principal: Principal) -> list[Broadcast]:
        """See `LiveChats.broadcasts`."""
        return []

    async def recordings(self, principal: Principal, start: int, end: int) -> list[LiveRecording]:
        """See `LiveChats.recordings`."""
        return []
