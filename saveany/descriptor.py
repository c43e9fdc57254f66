"""File descriptors that several threads use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class SharedDescriptor:
    """A descriptor that is closed when its owner and all threads that use it have released it.

    If it were closed earlier, a thread could write to another file that has got the same number.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._users = 1
        self._lock = threading.Lock()

    def lend(self, work: Callable[[int], T]) -> Callable[[], T]:
        """A function that runs `work` with the descriptor. It must be called exactly once."""
        with self._lock:
            self._users += 1

        def job() -> T:
            try:
                return work(self.fd)
            finally:
                self.release()

        return job

    def release(self) -> None:
        """Release the descriptor."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            os.close(self.fd)
