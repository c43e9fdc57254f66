"""What is known of a file before it is fetched: what rules and templates may ask."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from datetime import UTC, datetime

_TAG = re.compile(r"#(\w+)")
_TYPES = mimetypes.MimeTypes()
#: Kinds of media by what they are where nobody tells.
_KINDS = {"video": "video", "audio": "audio", "image": "photo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One file. What its source does not know is left out."""

    name: str = ""  # safe
    size: int | None = None  # bytes
    number: int = 1  # among the files of the task
    folder: str = ""  # of the task
    text: str = ""  # of its message, or of the album
    kind: str = ""  # one of `saveany.filters.Kind`
    album: str = ""  # what the album is called that it belongs to; "" if to none
    chat: str = ""  # username of the chat or person it comes from
    chat_id: int = 0  # marked
    message_id: int = 0
    date_ms: int = 0  # when it was posted

    @property
    def tags(self) -> list[str]:
        """The hashtags of the text."""
        return _TAG.findall(self.text)

    @property
    def date(self) -> datetime:
        """When it was posted, in UTC."""
        return datetime.fromtimestamp(self.date_ms / 1000, UTC)

    @property
    def kind_or_guess(self) -> str:
        """The kind, by the extension where nobody has told it."""
        guessed = _TYPES.guess_type(f"x{self.name}")[0] or ""
        return self.kind or _KINDS.get(guessed.partition("/")[0], "document")
