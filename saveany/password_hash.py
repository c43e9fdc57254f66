"""Passwords as they are stored."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from typing import Final

#: Cost of a hash: about 16 MiB and 50 ms (RFC 7914).
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1}


async def hash_password(password: str) -> str:
    """The hash of a password, with a salt of its own."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_text(salt)}${_text(await _derive(password, salt))}"


async def password_matches(password: str, stored: str) -> bool:
    """Whether `stored` is a hash of the password."""
    _, salt, expected = stored.split("$")
    return hmac.compare_digest(await _derive(password, base64.b64decode(salt)), base64.b64decode(expected))


async def _derive(password: str, salt: bytes) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return await asyncio.to_thread(hashlib.scrypt, data, salt=salt, **_SCRYPT)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
