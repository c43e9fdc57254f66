"""Encoding of names that a server cannot hold."""

from __future__ import annotations

import re


class Encoder:
    """Replaces characters that a server refuses with `%` and two hex digits for each of their bytes.

    Other names are unchanged, even if they look percent-encoded: `100%20.bin` where a space is allowed. No
    two names get the same encoding, and `decode` restores each: a `%` that could be taken for an encoded
    character is itself encoded.
    """

    def __init__(self, forbidden: str, *, edges: str = "") -> None:
        """The server refuses `forbidden` characters anywhere, and those of `edges` at either end of a
        name."""
        inner, outer = (f"(?:{'|'.join(map(_hex_digits, some)) or '(?!)'})" for some in (forbidden, edges))
        plain = _pattern(*(f"[{re.escape(some)}]" if some else "(?!)" for some in (forbidden, edges)))
        # Each level of encoding adds one `25`: `%2F`, `%252F`, `%25252F`, …
        again = rf"%(?=(?:25)*{inner})|\A%(?=(?:25)*{outer})|%(?=(?:25)*{outer}\Z)"
        self._to_encode = re.compile(f"{plain}|{again}", re.DOTALL)
        self._encodings = re.compile(
            _pattern(f"%{inner}", f"%{outer}") + "|" + again.replace("%(?=", "%25(?=")
        )

    def encode(self, name: str) -> str:
        """The name as the server can hold it."""
        return self._to_encode.sub(lambda found: _encoded(found[0]), name)

    def decode(self, name: str) -> str:
        """The original name; names that were not encoded are unchanged."""
        return self._encodings.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), name)


def _pattern(inner: str, outer: str) -> str:
    return rf"{inner}|\A{outer}|{outer}\Z"


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _hex_digits(character: str) -> str:
    """The encoding of a character, without its first `%`."""
    return _encoded(character)[1:]
