"""The errors of links, in the words of seed 000."""

from __future__ import annotations

from saveany.errors import NotFound, TooMany, Unavailable


class FileNotFound(NotFound):
    """The requested file could not be found"""

    error = "File not found"


class RateLimited(TooMany):
    """Too many requests, please try again later"""

    error = "Rate limited"


class TrafficUsedUp(Unavailable):
    """Links have sent as much this month as they may (links.monthly_gb); try again next month"""

    def __init__(self, after: int) -> None:
        """`after` is the number of seconds until the next month."""
        super().__init__()
        self.after = after
