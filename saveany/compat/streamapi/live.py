"""What the API needs to know about live streams and their recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from saveany.catalogue.models import SavedFile
from saveany.errors import InvalidInput, NotFound, WrongState
from saveany.logs import get_logger
from saveany.service import Principal

if TYPE_CHECKING:
    from saveany.service.live import LiveService


log = get_logger("saveany.compat.streamapi")


@dataclass(frozen=True, slots=True)
class StreamBroadcast:
    """A chat that is live now. Times are ms."""

    chat: str  # as it is watched: its username, or its id
    channel_id: int
    started_at: int
    viewers: int
    most_viewers: int


@dataclass(frozen=True, slots=True)
class StreamRecording:
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

    async def broadcasts(self, principal: Principal) -> list[StreamBroadcast]:
        """The watched chats that are live now."""

    async def recordings(self, principal: Principal, start: int, end: int) -> list[StreamRecording]:
        """The recordings that began between two times, inclusive, oldest first."""


class RecordedChats:
    """The chats that SaveAny records when they go live. A chat is known by its username, and by its id
    without the -100 that Telegram's clients put in front."""

    def __init__(self, service: LiveService) -> None:
        self._service = service

    async def watch(self, principal: Principal, chat: str) -> None:
        """See `LiveChats.watch`."""
        if chat.lower() in {name.lower() for name in await self._watched(principal)}:
            return
        try:
            await self._service.watch(principal, f"-100{chat}" if chat.isdecimal() else f"@{chat}")
        except (WrongState, NotFound, InvalidInput) as error:
            # Clients give users any names. Such a session exists, and is never live.
            log.warning("streamapi_session_not_recorded", chat=chat, reason=error.message)

    async def _watched(self, principal: Principal) -> set[str]:
        shown = await self._service.all(principal)
        return {name for each in shown for name in _names(each.watch.name, each.watch.chat)}

    async def broadcasts(self, principal: Principal) -> list[StreamBroadcast]:
        """See `LiveChats.broadcasts`."""
        return [
            StreamBroadcast(
                chat=name,
                channel_id=_bare_id(shown.watch.chat),
                started_at=shown.broadcast.started_at,
                viewers=shown.broadcast.viewers,
                most_viewers=shown.broadcast.most_viewers,
            )
            for shown in await self._service.all(principal)
            if shown.broadcast
            for name in _names(shown.watch.name, shown.watch.chat)
        ]

    async def recordings(self, principal: Principal, start: int, end: int) -> list[StreamRecording]:
        """See `LiveChats.recordings`."""
        return [
            StreamRecording(name, _bare_id(each.chat_id), each.started_at, part.seconds, part.file)
            for each in await self._service.recordings(principal, since=start, until=end)
            for part in each.files
            for name in _names(each.chat, each.chat_id)
        ]


def _bare_id(marked: int) -> int:
    return int(str(marked).removeprefix("-100"))


def _names(name: str, marked: int) -> set[str]:
    return (
        {name.removeprefix("@"), str(_bare_id(marked))} if name.startswith("@") else {str(_bare_id(marked))}
    )
