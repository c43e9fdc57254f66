"""The errors of links, in the words of seed 000."""

from __future__ import annotations

from saveany.errors import NotFound, TooMany


class FileNotFound(NotFound):
    """The requested file could not be found"""

    error = "File not found"


class RateLimited(TooMany):
    """Too many requests, please try again later"""

    error = "Rate limited"
