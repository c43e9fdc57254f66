"""A download that continues where it was interrupted, and is verified at its end."""

from __future__ import annotations

import hashlib
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from saveany.client.connection import MAX_FAILURES, is_worth_retrying, pause
from saveany.client.request import ApiError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from saveany.client.models import SavedFileView

_CHUNK = 1 << 20


class Download:
    """Writes a saved file to `target`, or into it if that is a folder, by way of `….part` beside it."""

    def __init__(self, file: SavedFileView, target: Path) -> None:
        self._file = file
        self._target = target / _file_name(file["name"]) if target.is_dir() else target
        # The name has the id: another file of the same name must not be continued.
        self._part = self._target.with_name(f".saveany-{quoted(file['file_id'])}.part")
        self._failures = 0  # in a row, without any progress
        self._seen = 0

    @property
    def target(self) -> Path:
        """Where the file is at the end."""
        return self._target

    @property
    def path(self) -> str:
        """The address of the content."""
        return f"/api/v1/files/{quoted(self._file['file_id'])}/content"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self._offset >= self._file["size"]

    @property
    def _offset(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def failed(self, error: ApiError | None = None) -> float:
        """The seconds to wait after an attempt that did not complete the file. Raises `error`, or that the
        content ends too early, if no further attempt is worthwhile."""
        before, self._seen = self._seen, self._offset
        self._failures = 1 if self._seen > before else self._failures + 1
        if self._failures > MAX_FAILURES or (error and not is_worth_retrying(error)):
            raise error or ApiError(f"the content of {self._file['name']} ends too early")
        return pause(self._failures)

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


def _file_name(name: str) -> str:
    """The name of a file as the server states it, without folders: it must not lead out of the target."""
    last = PureWindowsPath(name).name.replace("\0", "")
    return last if last.strip(".") else "file"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
