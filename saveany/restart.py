"""Restarts a SaveAny on request, for settings that take effect with a restart only.

A request changes the file `restart` in data_dir. `saveany run`, `saveany api`, `saveany worker` and
`saveany bot` watch it; each stops as it does on SIGTERM, and then begins again as the same process. Children
of `saveany run` leave this to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

#: Environment variable of the children of a supervisor: what to do with a request, "yes" or "no".
VARIABLE = "_SAVEANY_RESTARTS"
_FILE = "restart"
#: Seconds between two checks for a request.
_POLL_SECONDS = 1.0


class RestartRequests:
    """The requests for a restart of what uses one data_dir."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / _FILE
        self._seen = self._version()
        #: Whether there was a request since this object was made.
        self.is_requested = False

    def make(self) -> None:
        """Request a restart. Raises `OSError`."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()

    async def wait(self, stop: Callable[[], None]) -> None:
        """Wait for a request, then call `stop`."""
        while self._version() == self._seen:  # noqa: ASYNC110  another process changes it
            await asyncio.sleep(_POLL_SECONDS)
        self.is_requested = True
        stop()

    def _version(self) -> int:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return 0


def is_supervised() -> bool:
    """Whether a supervisor restarts this process."""
    return VARIABLE in os.environ


def is_possible() -> bool:
    """Whether a request restarts this process."""
    return os.environ.get(VARIABLE, "yes") == "yes"


def begin_again() -> NoReturn:
    """Replace this process by a new one with the same command."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  the same command
