"""Codes of refused requests. Anything but 0 is an error."""

from __future__ import annotations

from typing import Final

MISSING: Final = 1
NO_USER: Final = 8
UNKNOWN: Final = 100
BAD_KEY: Final = 200
FOREIGN: Final = 201
BAD_SIGNATURE: Final = 202
BAD_REQUEST_ID: Final = 203


class StreamApiError(Exception):
    """A request is refused with a code and a message for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
