"""The parameters of a call, as clients of these hosts send them, with their mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email import message_from_bytes
from typing import Final
from urllib.parse import parse_qsl

from saveany.errors import InvalidInput, NotFound
from saveany.planning.characters import is_hidden

#: Texts that clients send for no value.
_NOTHING: Final = frozenset({"", "0", "None", "null", "undefined", "{}", "[]"})
#: What follows a value if a client has copied `&amp;` from the HTML of Streamtape's documentation.
_AMP: Final = re.compile(r"amp;(name)=(.*)", re.DOTALL)
_WITH_TAIL: Final = ("folder", "headers")
_NUMBER: Final = re.compile(r"[0-9]{1,15}")


class Parameters:
    """Parameters by name. Of several values the first counts that is one."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            name = name.removeprefix("amp;")
            if name in _WITH_TAIL and (tail := _AMP.search(value)):
                self._values.setdefault(tail[1], []).append(tail[2])
                value = value[: tail.start()]
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """A value; "" if there is none."""
        return next((value for value in self._values.get(name, ()) if value.strip() not in _NOTHING), "")

    def required(self, *names: str) -> str:
        """The value of the first of these names that has one. Raises `InvalidInput` if none has."""
        if found := next(filter(None, map(self.text, names)), ""):
            return found
        raise InvalidInput("the parameter {name} is missing", names[0], name=names[0])

    def is_given(self, name: str) -> bool:
        """Whether there is such a parameter, even without a value."""
        return name in self._values

    def folder(self, name: str = "folder") -> int:
        """The id of a folder; 0, the root, without a value. Raises `NotFound`."""
        return number_of(text, "folder") if (text := self.text(name)) else 0

    def limit(self, default: int, most: int) -> int:
        """The number of results that the client wants, at least 1."""
        text = self.text("limit")
        return max(1, min(int(text), most)) if _NUMBER.fullmatch(text) else default

    def lines(self, name: str) -> list[str]:
        """The lines of a value that has several, or of a parameter `name[]` that occurs several times."""
        values = [*self._values.get(f"{name}[]", ()), *self._values.get(name, ())]
        lines = (line.strip() for value in values for line in value.splitlines())
        return [line for line in lines if line not in _NOTHING]


def number_of(text: str, what: str) -> int:
    """An id, which is a number. Raises `NotFound` for other texts, which are the ids of nothing."""
    if not _NUMBER.fullmatch(text):
        raise NotFound("there is no {what} {id}", what=what, id=text[:40])
    return int(text)


def library_name(raw: str) -> str:
    """A text as the name of a file or folder in the library: with _ in place of slashes, and without control
    characters. Raises `InvalidInput` if nothing is left."""
    name = "".join(c for c in raw if not is_hidden(c)).replace("/", "_").replace("\\", "_").strip()
    if not name.strip(". "):
        raise InvalidInput("the name has no character that a name may have", "name")
    return name


def parse(query: bytes, body: bytes, content_type: str) -> Parameters:
    """The parameters in a query, then those in the body of a form."""
    pairs = _urlencoded(query)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        pairs += _urlencoded(body)
    elif kind == "multipart/form-data":
        pairs += _multipart(body, content_type)
    return Parameters(pairs)


def _urlencoded(text: bytes) -> list[tuple[str, str]]:
    return parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")


def _multipart(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """The fields of a small form, as curl and PHP send it."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    found = []
    for part in message_from_bytes(head + body).walk():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if not part.is_multipart() and isinstance(name, str) and isinstance(data, bytes):
            found.append((name, data.decode("utf-8", "replace")))
    return found
