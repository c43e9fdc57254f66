"""The properties of a file that are known before it is downloaded, for rules and templates."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from datetime import UTC, datetime

_TAG = re.compile(r"#(\w+)")
_TYPES = mimetypes.MimeTypes()
#: Main MIME type -> kind of media, for sources that do not report the kind.
_KINDS = {"video": "video", "audio": "audio", "image": "photo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The properties of one file. Those that its source does not know keep their defaults."""

    name: str = ""  # safe
    size: int | None = None  # bytes
    number: int = 1  # position among the files of the task, from 1
    folder: str = ""  # the folder of the task
    text: str = ""  # the text of its message, or of the album
    kind: str = ""  # one of `saveany.filters.Kind`
    album: str = ""  # name of its album; "" if it is in none
    chat: str = ""  # username of the chat or user that posted it
    chat_id: int = 0  # marked id of the same
    message_id: int = 0
    date_ms: int = 0  # when it was posted: milliseconds since 1970

    @property
    def tags(self) -> list[str]:
        """The hashtags in the text, without `#`."""
        return _TAG.findall(self.text)

    @property
    def date(self) -> datetime:
        """When it was posted, in UTC."""
        return datetime.fromtimestamp(self.date_ms / 1000, UTC)

    @property
    def kind_or_guess(self) -> str:
        """The kind, guessed from the extension if the source did not report it."""
        guessed = _TYPES.guess_type(f"x{self.name}")[0] or ""
        return self.kind or _KINDS.get(guessed.partition("/")[0], "document")
