"""The errors of links, in the words of seed 000."""

from __future__ import annotations

from typing import Final

from saveany.errors import NotFound, StorageError, StorageUnavailable, TaskError, TooMany, Unavailable

#: Seconds after which a client should ask again if nobody knows how long an outage lasts.
_RETRY_SECONDS: Final = 10.0


class FileNotFound(NotFound):
    """The requested file could not be found"""

    error = "File not found"


class StorageElsewhere(StorageUnavailable):
    """The disk of the storage is not in this machine."""


class RateLimited(TooMany):
    """Too many requests, please try again later"""

    error = "Rate limited"


class TrafficUsedUp(Unavailable):
    """Links and the drive have sent all they may this month (links.monthly_gb); try again next month"""

    def __init__(self, after: int) -> None:
        """`after` is the number of seconds until the next month."""
        super().__init__()
        self.after = after


class NotNow(Unavailable):
    """The file cannot be read at the moment; try again later"""

    def __init__(self, after: float = 0.0) -> None:
        """`after` is in seconds; 0 if it is unknown."""
        super().__init__()
        self.after = after or _RETRY_SECONDS


def unreadable(error: TaskError | StorageError) -> NotFound | Unavailable:
    """The error for the client, if a file cannot be read."""
    return NotNow(error.after) if error.retryable else FileNotFound()
