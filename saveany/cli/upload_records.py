"""Which uploads this user has begun, so that a command that was interrupted continues when it is repeated."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

#: Seconds that a record is kept. A server forgets an upload earlier, and a failed task's file after a week.
_KEPT_SECONDS = 8 * 24 * 3600.0


class UploadRecords:
    """The ids of uploads by what is uploaded. If their file cannot be written, they last for one run."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or _default_path()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = self._opened(str(path))
        except (OSError, sqlite3.Error):
            self._db = self._opened(":memory:")

    def _opened(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("CREATE TABLE IF NOT EXISTS upload (key TEXT PRIMARY KEY, id TEXT, at REAL) WITHOUT ROWID")
        db.execute("DELETE FROM upload WHERE at < ?", (time.time() - _KEPT_SECONDS,))
        return db

    def get(self, key: str) -> str:
        """The id of an upload, "" if it is not known."""
        with closing(self._db.execute("SELECT id FROM upload WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        return str(row[0]) if row else ""

    def put(self, key: str, id_: str) -> None:
        """Record an upload."""
        with suppress(sqlite3.Error):  # a full disk: it cannot be continued, and that is all
            self._db.execute("INSERT OR REPLACE INTO upload VALUES (?, ?, ?)", (key, id_, time.time()))

    def forget(self, keys: list[str]) -> None:
        """Remove records."""
        with suppress(sqlite3.Error):
            self._db.executemany("DELETE FROM upload WHERE key = ?", [(key,) for key in keys])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def key_of(*parts: object) -> str:
    """The key of an upload: of everything that makes it another one."""
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _default_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "saveany" / "uploads.sqlite"
