"""Reads lists of links: one per line, CSV, JSON Lines, and exports of Telegram Desktop and tdl.

What a list is follows from its contents. It may have any length, so it is read entry by entry. An entry that
is wrong has a problem, and the next one follows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from saveany import tables
from saveany.errors import InvalidInput
from saveany.service.exports import Export, ExportedMessage
from saveany.telegram import links
from saveany.texts import Text

ListFormat = Literal["links", "csv", "jsonl", "export"]

#: Number of characters from which the format is recognised, and that are read at a time.
_PIECE = 1 << 16
#: Maximum number of characters in a line.
_MAX_LINE = 1 << 16
#: Names of the column or field with the link, unless the request names one.
_NAMES = ("link", "links", "url", "urls", "telegram_url", "message_link", "message_links")
_DELIMITERS = ",;\t|"
#: How gzip and ZIP (also .xlsx and .ods) begin.
_PACKED = ("\x1f\ufffd", "PK\x03\x04")
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
#: The line before those of the columns that tells Excel what separates them.
_SEPARATOR = re.compile(r"\"?sep=[,;\t|]\"?", re.IGNORECASE)
_EXPORT = re.compile(r'(?<!\\)"messages"\s*:\s*\[')
_LIKE_A_LINK = re.compile(r"://|t\.me/|^tg:|^magnet:", re.IGNORECASE)
#: The types of chats in exports of Telegram Desktop whose messages have links.
_LINKED = re.compile(r"|[a-z_]*_(?:channel|supergroup)")

_NO_LINK = Text("there is no link")
_PRIVATE = Text(
    "messages of people, bots and small groups have no links; archive the chat, with --account or `account`"
)
_MIGRATED = Text(
    "this message is from before the group became a supergroup; archive the chat, with --account or `account`"
)


@dataclass(frozen=True, slots=True)
class ListEntry:
    """A link of a list, or why there is none."""

    place: int  # the number of the line or, in an export, of the message
    link: str = ""
    problem: Text | None = None
    chat: int = 0  # of an export


class ListReader:
    """A list that is being read. Raises `InvalidInput` if it is empty, no text, or has no column `column`.

    `format` says what it is and, once all entries were read, `without_file` how many messages of an export
    have no file, and `is_truncated` whether an export ends in the middle."""

    def __init__(self, file: TextIO, column: str = "") -> None:
        self._file = file
        self._head = file.read(_PIECE)
        self._column = column
        self.without_file = 0
        self.is_truncated = False
        if self._head.startswith(_PACKED):
            raise InvalidInput(
                "this is no list of links but a packed file; unpack it, or export a spreadsheet as CSV"
            )
        if "\0" in self._head:
            raise InvalidInput("this is no list of links: it is not a text file in UTF-8")
        if not self._head.strip():
            raise InvalidInput("the list is empty")
        self._header, self._delimiter = 0, ""
        self.format: ListFormat = self._recognised()

    def _recognised(self) -> ListFormat:
        if self._head.lstrip().startswith("{"):
            first, end, _ = self._head.lstrip().partition("\n")
            is_export = (
                first.strip() == "{" or _EXPORT.search(first) or (not end and len(first) > _MAX_LINE // 2)
            )
            return "export" if is_export else "jsonl"
        rows = [
            (number, line)
            for number, line in enumerate(self._head.split("\n"), 1)
            if line.strip() and not line.startswith("#") and not _SEPARATOR.fullmatch(line)
        ]
        if not rows:
            return "links"
        self._delimiter = max(_DELIMITERS, key=rows[0][1].count)
        names = [each.lower() for each in _cells(rows[0][1], self._delimiter)]
        wanted = [self._column.strip().lower()] if self._column else _NAMES
        if name := next((each for each in wanted if each in names), ""):
            self._column, self._header = name, rows[0][0]
            return "csv"
        if self._column or self._is_table(names, rows):
            raise InvalidInput(
                "no column is called {wanted}; name the column with the links. The columns are: {names}",
                "column",
                wanted=self._column or "link",
                names=", ".join(names)[:200],
            )
        return "links"

    def _is_table(self, names: Sequence[str], rows: Sequence[tuple[int, str]]) -> bool:
        """Whether the list has the form of a table with the names of the columns in its first line."""
        following = _cells(rows[1][1], self._delimiter) if len(rows) > 1 else []
        has_links = any(_LIKE_A_LINK.search(each) for each in names)
        return len(names) > 1 and not has_links and len(following) == len(names)

    def entries(self) -> Iterator[ListEntry]:
        """The entries, in order. Raises `InvalidInput` if an export is none."""
        match self.format:
            case "export":
                return self._of_export()
            case "csv":
                return self._of_csv()
            case "jsonl":
                return (_of_json(number, line) for number, line in self._lines() if line.strip())
            case _:
                return self._of_lines()

    def read(self, size: int, /) -> str:
        """Read on. The beginning has been read already, to recognise the format."""
        head, self._head = self._head, ""
        return head or self._file.read(size)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The lines with their numbers; of a line that is too long, only its beginning, which is too long."""
        rest, number = "", 1
        while piece := self.read(_PIECE):
            *complete, last = piece.split("\n")
            for line in complete:
                yield number, rest + line[: _MAX_LINE + 1]
                rest, number = "", number + 1
            rest += last[: max(0, _MAX_LINE + 1 - len(rest))]
        if rest:
            yield number, rest

    def _of_lines(self) -> Iterator[ListEntry]:
        for number, line in self._lines():
            if len(line) > _MAX_LINE:
                yield ListEntry(number, problem=_too_long())
            elif link := _COMMENT.sub("", line).strip():
                yield ListEntry(number, link)

    def _of_csv(self) -> Iterator[ListEntry]:
        lines = ("" if number < self._header else line for number, line in self._lines())
        rows = csv.reader((f"{line}\n" for line in lines), delimiter=self._delimiter)
        at = -1
        while True:
            number = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield ListEntry(
                    number, problem=Text("this is no row of CSV: {reason}", {"reason": str(error)})
                )
                continue
            if row is None:
                return
            if number < self._header or not any(row):
                continue
            if at < 0:
                names = [each.strip().lower() for each in row]
                if self._column not in names:
                    raise InvalidInput("a quote in the line with the names of the columns is not closed")
                at = names.index(self._column)
                continue
            link = tables.original(row[at]).strip() if at < len(row) else ""
            yield ListEntry(number, link, None if link else _NO_LINK)

    def _of_export(self) -> Iterator[ListEntry]:
        export = Export(self)
        for message in export.messages():
            if message.fields.get("type", "message") != "message" or not message.file:
                self.without_file += 1
            else:
                yield _of_message(message)
        if not export.is_one:
            raise InvalidInput("this is no export of Telegram Desktop or tdl: there are no messages in it")
        self.is_truncated = export.is_truncated


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [each.strip() for each in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _of_json(number: int, line: str) -> ListEntry:
    if len(line) > _MAX_LINE:
        return ListEntry(number, problem=_too_long())
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        return ListEntry(number, problem=Text("this is not JSON: {reason}", {"reason": reason}))
    fields = found if isinstance(found, dict) else {}
    link = next((each for name in _NAMES if isinstance(each := fields.get(name), str) and each.strip()), "")
    if link:  # JSON may contain half a character, which no link may
        return ListEntry(number, link.strip().encode(errors="replace").decode())
    return ListEntry(number, problem=_PRIVATE if "link" in fields else _NO_LINK)


def _of_message(message: ExportedMessage) -> ListEntry:
    place = message.id
    if not message.chat or not place:
        return ListEntry(place or 0, problem=Text("the export does not say which message this is"))
    if not _LINKED.fullmatch(message.chat_type):
        return ListEntry(place, problem=_PRIVATE, chat=message.chat)
    if place < 0:
        return ListEntry(place, problem=_MIGRATED, chat=message.chat)
    return ListEntry(place, links.message_link(links.marked_id(message.chat), place), chat=message.chat)


def _too_long() -> Text:
    return Text("this line has more than {maximum} characters", {"maximum": f"{_MAX_LINE:,}"})
