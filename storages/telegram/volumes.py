"""Files split into volumes that an account may send."""

from __future__ import annotations

import hashlib
import mimetypes
import posixpath
from dataclasses import dataclass
from typing import Final

from storages.base import (
    UploadKey,
)
from storages.media import MediaProperties
from storages.message_sender import PART, Document, DocumentPart, Target

#: Bytes above which a file is sent as a big one, without an MD5.
BIG: Final = 10 << 20
#: Maximum bytes of a caption in UTF-16, in which Telegram counts.
_MAX_CAPTION_BYTES: Final = 2 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """What a path stands for: a chat, a line of the caption, and a file name."""

    target: Target
    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A file for Telegram: a whole file, or a piece of one. All pieces but the last have the same size,
    unless they play by themselves."""

    key: UploadKey
    number: int
    count: int
    size: int
    plays: bool = False  # it is a part of a video that was cut

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
        """The id of the uploaded file; it differs between claims."""
        return _number(f"{self._piece} {self.key.epoch}")

    @property
    def random_id(self) -> int:
        """The same for all claims, so that a message is sent once, and again only after it was deleted."""
        return _number(f"{self._piece} again {self.key.undone}" if self.key.undone else self._piece)

    @property
    def _piece(self) -> str:
        """Identifies these bytes of the file, even if other limits split it differently."""
        kind = " plays" if self.plays else ""
        return f"{self.key.task} {self.key.item} {self.number}/{self.count} {self.size}{kind}"

    def name(self, file: str) -> str:
        """Its own name, if the whole file is called `file`."""
        if self.plays:
            stem, suffix = posixpath.splitext(file)
            return f"{stem} ({self.number + 1} of {self.count}){suffix}"
        return f"{file}.{self.number + 1:03}" if self.count > 1 else file

    def part(self, number: int, data: bytes) -> DocumentPart:
        """A part of the volume."""
        return DocumentPart(self.file, number, self.parts, data, self.big)

    def document(
        self, destination: Destination, caption: str | None, md5: str, properties: MediaProperties | None
    ) -> Document:
        """The message for the volume. Its caption is name and folder, if none is given or it is a piece."""
        name = self.name(destination.name)
        folder = destination.folder.replace("#", "")  # Telegram would make it a hashtag
        if caption is None or self.count > 1:
            caption = f"{name}\n{folder}".strip()
        return Document(
            self.random_id,
            self.file,
            self.parts,
            self.big,
            name,
            mimetypes.guess_type(name)[0] or "application/octet-stream",
            caption.encode("utf-16-le")[:_MAX_CAPTION_BYTES].decode("utf-16-le", "ignore"),
            md5,
            properties,
        )


def _number(text: str) -> int:
    """A signed 64-bit number from the hash of a text; never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True) or 1
