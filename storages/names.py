"""Names that a backend cannot hold, spelled so that it can, and back again."""

from __future__ import annotations

import re


class Encoder:
    """Spells characters that a backend refuses as `%` and the two hex digits of each of their bytes.

    A name that needs nothing stays as it is. Two names never become one, and `decode` gives every name back:
    a `%` that could be taken for such a spelling is spelled, too.
    """

    def __init__(self, forbidden: str, *, edges: str = "") -> None:
        """`forbidden` characters are refused anywhere, those of `edges` at either end of a name."""
        self._forbidden = re.compile(f"[{re.escape(forbidden)}]|%(?=[0-9A-F]{{2}})")
        self._edges = edges
        self._spelled = re.compile("(?:%[0-9A-F]{2})+")

    def encode(self, name: str) -> str:
        """The name as the backend can hold it."""
        inner = self._forbidden.sub(lambda found: _spell(found[0]), name)
        if inner and inner[0] in self._edges:
            inner = _spell(inner[0]) + inner[1:]
        if inner and inner[-1] in self._edges:
            inner = inner[:-1] + _spell(inner[-1])
        return inner

    def decode(self, name: str) -> str:
        """The name that was encoded. Where that makes no sense, others have given it: it stays as it is."""
        return self._spelled.sub(lambda found: _read(found[0]), name)


def _spell(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _read(spelled: str) -> str:
    try:
        return bytes.fromhex(spelled.replace("%", "")).decode()
    except UnicodeDecodeError:
        return spelled
