"""Secrets as they are shown to those who may not read them, and the way back when somebody sends that."""

from __future__ import annotations

import re
from typing import Any

#: What a secret looks like where it is hidden.
HIDDEN = "********"
#: The user and the password of a URL; the password may contain an @ that is not encoded.
_PASSWORD = re.compile(r"(?<=://)([^/?#@:\s]*:)([^/?#\s]+)(?=@)")


def without_password(text: str) -> str:
    """A text in which the passwords of URLs are hidden."""
    return _PASSWORD.sub(rf"\1{HIDDEN}", text)


def passwords(text: str) -> list[str]:
    """The passwords of the URLs in a text, as they are written there."""
    return [found[2] for found in _PASSWORD.finditer(text)]


def is_hidden(value: object) -> bool:
    """Whether a secret is hidden in a value."""
    if isinstance(value, list):
        return any(map(is_hidden, value))
    if isinstance(value, dict):
        return any(map(is_hidden, value.values()))
    return isinstance(value, str) and (value == HIDDEN or HIDDEN in passwords(value))


def restored(value: Any, present: Any) -> Any:
    """`value` with the secrets of `present`, the same value in which they were hidden. Raises `ValueError` if
    it is not certain which of them is meant."""
    if not is_hidden(value):
        return value
    if isinstance(value, dict):
        table = present if isinstance(present, dict) else {}
        return {name: restored(each, table.get(name)) for name, each in value.items()}
    if isinstance(value, list):
        known = present if isinstance(present, list) else []
        if all(isinstance(each, dict) for each in [*value, *known]):
            named = {each.get("name"): each for each in known}
            return [restored(each, named.get(each.get("name"))) for each in value]
        if len(value) < len(known):
            raise ValueError("a secret is missing, and nobody knows which")
        return [restored(each, known[n] if n < len(known) else None) for n, each in enumerate(value)]
    known_passwords = passwords(present) if isinstance(present, str) else []
    if value == HIDDEN and present and isinstance(present, str):
        return present
    if value == HIDDEN or len(known_passwords) != 1:
        raise ValueError("there is no such secret")
    return _PASSWORD.sub(lambda found: found[1] + known_passwords[0], value)
