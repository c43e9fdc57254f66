"""The line of every key of a TOML text, for error messages.

`tomllib` reports no positions, so this module scans the text a second time. It relies on tomllib having
accepted the text. A property test checks that both find the same keys.
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

    Locations are written as pydantic does: `("storages", 0, "base_path")`.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Loc, int] = {}
        self.counts: dict[Loc, int] = {}  # tables found so far in each [[array of tables]]
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
        """Read `[a.b]` or `[[a.b]]`; return the location of the table that the following keys belong to."""
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
        """Read `a.b = value`."""
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
        """Read an array or an inline table."""
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
        """Read a key and the blanks around it; return its parts."""
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
            raise AssertionError(f"unexpected text at offset {self.at}: not TOML, or a bug in this scanner")
        self.at = found.end()
        return found.group()

    def mark(self, loc: Loc) -> None:
        """Record the current line for `loc`; the first mention counts."""
        self.lines.setdefault(loc, bisect_left(self.newlines, self.at) + 1)
