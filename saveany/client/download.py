"""A download that continues where it was interrupted, and is verified at its end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from saveany.client.request import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from saveany.client.models import SavedFileView

_CHUNK = 1 << 20


class Download:
    """Writes a saved file to `target`, by way of `target.part`."""

    def __init__(self, file: SavedFileView, target: Path) -> None:
        self._file = file
        self._target = target / file["name"] if target.is_dir() else target
        self._part = self._target.with_name(f"{self._target.name}.part")

    @property
    def target(self) -> Path:
        """Where the file is at the end."""
        return self._target

    @property
    def path(self) -> str:
        """The address of the content."""
        return f"/api/v1/files/{self._file['file_id']}/content"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self._offset >= self._file["size"]

    @property
    def _offset(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def headers(self) -> Mapping[str, str]:
        """The headers of the request for what is missing."""
        return {"Range": f"bytes={self._offset}-", "Accept-Encoding": "identity"} if self._offset else {}

    def open(self, status: int) -> BinaryIO:
        """The file to which the content of the reply is written. A reply with all of it replaces what is
        there."""
        return self._part.open("ab" if status == 206 else "wb")  # partial content

    def finish(self) -> Path:
        """Verify the file and put it in its place. Raises `ApiError` if it is not what was saved."""
        if not self._part.exists():
            self._part.touch()
        if self._file["sha256"] and _digest(self._part) != self._file["sha256"]:
            self._part.unlink()
            raise ApiError(f"{self._file['name']} is not what was saved: its SHA-256 differs")
        self._part.replace(self._target)
        return self._target


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
