"""The line of every key of a TOML text, for error messages.

`tomllib` gives no positions, so this walks the text once more. The text has been parsed by tomllib already:
what is here may rely on it being valid, and finds the same keys (a property test holds the two together).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left

Loc = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+ | "(?:[^"\\]|\\.)*" | '[^']*'""", re.X)
_STRING = re.compile(
    r""""{3}(?:[^\\]|\\.)*?"{3,5} | '{3}.*?'{3,5} | "(?:[^"\\]|\\.)*" | '[^']*' """, re.X | re.S
)
_SCALAR = re.compile(r"[^\n,\]}#]*")


def key_lines(text: str) -> dict[Loc, int]:
    """Line number, from 1, of every key, table and array element of a valid TOML text.

    A key's place is spelled as pydantic spells it: `("storages", 0, "base_path")`.
    """
    walk = _Walk(text)
    walk.document()
    return walk.lines


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Loc, int] = {}
        self.counts: dict[Loc, int] = {}  # tables so far in each [[array of tables]]
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: Loc = ()
        self.gap()
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
            self.gap()

    def header(self) -> Loc:
        """`[a.b]` or `[[a.b]]`: the place that the keys after it belong to."""
        array = self.text.startswith("[[", self.at)
        self.at += 1 + array
        loc: Loc = ()
        for part in self.dotted():
            if loc in self.counts:
                loc += (self.counts[loc] - 1,)
            loc += (part,)
            self.mark(loc)
        self.at += 1 + array
        if array:
            self.counts[loc] = self.counts.get(loc, 0) + 1
        if loc in self.counts:
            loc += (self.counts[loc] - 1,)
            self.mark(loc)
        return loc

    def pair(self, table: Loc) -> None:
        """`a.b = value`."""
        loc = table
        for part in self.dotted():
            loc += (part,)
            self.mark(loc)
        self.at += 1  # the equals sign
        self.gap()
        self.value(loc)

    def value(self, loc: Loc) -> None:
        opening = self.text[self.at]
        if opening in "[{":
            self.items(loc, closing="]" if opening == "[" else "}")
        else:
            self.take(_STRING if opening in "\"'" else _SCALAR)

    def items(self, loc: Loc, closing: str) -> None:
        """An array, or an inline table."""
        self.at += 1
        self.gap()
        index = 0
        while self.text[self.at] != closing:
            if closing == "]":
                self.mark((*loc, index))
                self.value((*loc, index))
                index += 1
            else:
                self.pair(loc)
            self.gap()
            self.at += self.text[self.at] == ","
            self.gap()
        self.at += 1

    def dotted(self) -> list[str]:
        """The parts of a key, and the blanks around them."""
        parts = []
        while True:
            self.gap()
            part = self.take(_KEY)
            parts.append(str(tomllib.loads(f"key = {part}")["key"]) if part[0] in "\"'" else part)
            self.gap()
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def gap(self) -> None:
        self.take(_GAP)

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise AssertionError(f"not TOML at offset {self.at}, or this walk misreads it")
        self.at = found.end()
        return found.group()

    def mark(self, loc: Loc) -> None:
        """The first mention of a place is where it is."""
        self.lines.setdefault(loc, bisect_left(self.newlines, self.at) + 1)
