"""Ids of tasks, which are URL-safe and sortable by creation time, and tokens of links, which are random."""

from __future__ import annotations

import os
import re
import secrets
import time
from typing import Final

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Number of characters of a token: 131 bits, so that nobody finds one by trying.
TOKEN_LENGTH: Final = 22

_FORM = re.compile("[0-9a-v]{20}")

_newest = 0


def new_id() -> str:
    """A task id: 20 characters of 0-9a-v that sort by creation time, strictly so within one process.

    It holds 48 bits of milliseconds and 52 random bits. If the clock has not advanced, the previous id is
    incremented.
    """
    global _newest
    fresh = (time.time_ns() // 1_000_000) << 52 | int.from_bytes(os.urandom(6), "big")
    _newest = max(fresh, _newest + 1)
    return "".join(_ALPHABET[_newest >> shift & 31] for shift in range(95, -1, -5))


def is_id(text: str) -> bool:
    """Whether a text has the form of a task id."""
    return bool(_FORM.fullmatch(text))


def created_ms(task_id: str) -> int:
    """When `new_id` created this id, in ms since the epoch. Raises `ValueError` for other texts."""
    return int(task_id, len(_ALPHABET)) >> 52


def new_token() -> str:
    """A random token."""
    return "".join(secrets.choice(_LETTERS) for _ in range(TOKEN_LENGTH))


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return len(text) == TOKEN_LENGTH and text.isascii() and text.isalnum()
