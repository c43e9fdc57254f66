"""Files as Telegram takes them: in volumes no larger than an account may send."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from typing import Final

from storages.base import (
    UploadKey,
)
from storages.telegram.messages import BIG, PART, Document, DocumentPart, Target
from storages.video import Video

#: In UTF-16, as Telegram counts.
_LONGEST_CAPTION_BYTES: Final = 2 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a path leads: a chat, a line of the caption, the name of the file."""

    target: Target
    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A file as Telegram gets it: all of ours, or a piece. All are as large as the first, but the last."""

    key: UploadKey
    number: int
    count: int
    size: int

    @property
    def parts(self) -> int:
        """The number of its parts."""
        return -(-self.size // PART)

    @property
    def big(self) -> bool:
        """Whether its parts are uploaded as those of a big file."""
        return self.size > BIG

    @property
    def file(self) -> int:
        """The parts of each claim lie under a number of their own."""
        return _number(f"{self._piece} {self.key.epoch}")

    @property
    def random_id(self) -> int:
        """The same for every claim: so a message is sent once, and once more if it was deleted."""
        return _number(f"{self._piece} again {self.key.undone}" if self.key.undone else self._piece)

    @property
    def _piece(self) -> str:
        """Which bytes of which file: another split, when limits have changed meanwhile, makes others."""
        return f"{self.key.task} {self.key.item} {self.number}/{self.count} {self.size}"

    def part(self, number: int, data: bytes) -> DocumentPart:
        """One part of it."""
        return DocumentPart(self.file, number, self.parts, data, self.big)

    def document(self, place: Destination, caption: str | None, md5: str, video: Video | None) -> Document:
        """How it is shown in the chat. Without a caption, and if it is a piece, by its name and folder."""
        name = f"{place.name}.{self.number + 1:03}" if self.count > 1 else place.name
        folder = place.folder.replace("#", "")  # it would be a tag, and a link
        if caption is None or self.count > 1:
            caption = f"{name}\n{folder}".strip()
        return Document(
            self.random_id,
            self.file,
            self.parts,
            self.big,
            name,
            mimetypes.guess_type(name)[0] or "application/octet-stream",
            caption.encode("utf-16-le")[:_LONGEST_CAPTION_BYTES].decode("utf-16-le", "ignore"),
            md5,
            video,
        )


def _number(text: str) -> int:
    """A number of 64 bits, signed as Telegram's are; never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True) or 1
