"""What happens to messages, in the order in which clients must learn of it.

Telegram numbers events within a box: each channel is one, and all private messages of an account are another
(https://core.telegram.org/api/updates). `pts` is the number of the last event; a deletion of three messages
counts as three.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saveany.sandbox.world import Chat


class MessageEventKind(Enum):
    """What has happened to messages."""

    NEW = "new"
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, eq=False)
class MessageEvent:
    """Something happened to messages of a chat; `pts` is the state of the box after it."""

    kind: MessageEventKind
    chat: "Chat"
    ids: tuple[int, ...]
    pts: int
    date: datetime

    @property
    def count(self) -> int:
        """How many numbers it takes."""
        return len(self.ids)


@dataclass(eq=False)
class MessageBox:
    """Messages whose ids, and whose events, are numbered together."""

    pts: int = 1
    last_id: int = 0
    events: list[MessageEvent] = field(default_factory=list)

    def log(self, kind: MessageEventKind, chat: "Chat", *ids: int) -> MessageEvent:
        """Note that something happened just now."""
        self.pts += len(ids)
        self.last_id = max(self.last_id, *ids)
        event = MessageEvent(kind, chat, ids, self.pts, datetime.now(UTC))
        self.events.append(event)
        return event

    def since(self, pts: int) -> list[MessageEvent]:
        """What has happened since a state."""
        return [event for event in self.events if event.pts > pts]
