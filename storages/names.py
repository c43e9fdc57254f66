"""Names that a backend cannot hold, spelled so that it can, and back again."""

from __future__ import annotations

import re


class Encoder:
    """Spells characters that a backend refuses as `%` and the two hex digits of each of their bytes.

    A name that needs nothing stays as it is, and so does one of somebody else's that only looks like a URL's:
    `100%20.bin` where a space needs no spelling. Two names never become one, and `decode` gives every name
    back: what would be taken for the spelling of a refused character has its `%` spelled, too.
    """

    def __init__(self, forbidden: str, *, edges: str = "") -> None:
        """`forbidden` characters are refused anywhere, those of `edges` at either end of a name."""
        inner, outer = (f"(?:{'|'.join(map(_digits, some)) or '(?!)'})" for some in (forbidden, edges))
        plain = _pattern(*(f"[{re.escape(some)}]" if some else "(?!)" for some in (forbidden, edges)))
        # A name may have the spelling of a spelling of … a character: each of them is one `25` longer.
        again = rf"%(?=(?:25)*{inner})|\A%(?=(?:25)*{outer})|%(?=(?:25)*{outer}\Z)"
        self._taken = re.compile(f"{plain}|{again}", re.DOTALL)
        self._spelled = re.compile(_pattern(f"%{inner}", f"%{outer}") + "|" + again.replace("%(?=", "%25(?="))

    def encode(self, name: str) -> str:
        """The name as the backend can hold it."""
        return self._taken.sub(lambda found: _spell(found[0]), name)

    def decode(self, name: str) -> str:
        """The name that was encoded; one that others have given stays as it is."""
        return self._spelled.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), name)


def _pattern(inner: str, outer: str) -> str:
    return rf"{inner}|\A{outer}|{outer}\Z"


def _spell(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _digits(character: str) -> str:
    """What follows the first `%` of its spelling."""
    return _spell(character)[1:]
