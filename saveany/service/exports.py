"""Reads exports of chats: `result.json` of Telegram Desktop, and the JSON of `tdl chat export`.

They may be many gigabytes long, so they are read message by message. Telegram Desktop writes control
characters as `\\x0b`, which is not valid JSON; that is accepted. Nothing in such a file is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from saveany.errors import InvalidInput
from saveany.texts import Text

#: Number of characters that are read at a time, and the maximum length of a message. What its JSON describes
#: may take 30 times as much memory, and users send exports, too.
_CHUNK, _MAX_MESSAGE = 1 << 20, 4 << 20
#: What is of interest outside of messages: the id and type of a chat, and the beginning of its messages.
_HEADER = re.compile(
    r'(?<!\\)"id"\s*:\s*(?P<id>-?[0-9]{1,19})(?![0-9])|(?<!\\)"type"\s*:\s*"(?P<type>[a-z_]{1,32})"'
    r'|(?<!\\)"messages"\s*:\s*\['
)
#: Maximum number of characters that such a text has.
_MAX_HEADER = 64
_CONTROL = re.compile(r"(?<!\\)((?:\\\\)*)\\x([0-9A-Fa-f]{2})")
#: The end of a chunk that may be the beginning of such an escape sequence.
_UNFINISHED = re.compile(r"\\+(?:x[0-9A-Fa-f]?)?$")
_SPACE = re.compile(r"[\s,]*")

_decode = json.JSONDecoder(strict=False).raw_decode


@dataclass(frozen=True, slots=True)
class ExportedMessage:
    """A message."""

    chat: int  # without sign or prefix; 0 if the export names none
    chat_type: str  # such as private_channel; "" in exports of tdl
    fields: dict[str, Any]  # of the export; nothing about them is known

    @property
    def id(self) -> int | None:
        """Its number, negative for messages from before a group was migrated; None if it is not valid."""
        number = self.fields.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= 2**31:
            return None
        return number

    @property
    def file(self) -> str:
        """The path of its file, or the reason in brackets why that was not exported; "" if it has none."""
        path = self.fields.get("photo") or self.fields.get("file")
        return path if isinstance(path, str) else ""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """The file of a message."""

    chat: int  # without sign or prefix; 0 if the export names none
    message: int  # negative for messages from before a group was migrated
    path: str  # relative to the export, or only a name


class Readable(Protocol):
    """A text that can be read."""

    def read(self, size: int, /) -> str:
        """At most `size` characters, "" at the end."""


class Export:
    """An export that is being read. Afterwards `is_one` says whether it has the form of one, and
    `is_truncated` whether it ends in the middle."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._rest = ""  # not part of `_text` yet
        self.is_one = False
        self.is_truncated = False

    def messages(self) -> Iterator[ExportedMessage]:
        """The messages that the export contains. Raises `InvalidInput` if it is no JSON."""
        chat, type_ = 0, ""
        while found := self._header():
            if found["id"]:
                chat = abs(int(found["id"]))
            elif found["type"]:
                type_ = found["type"]
            else:
                self.is_one = True
                for message in self._messages():
                    yield ExportedMessage(chat, type_, message)
                chat, type_ = 0, ""

    def files(self) -> Iterator[ExportedFile]:
        """The files that were exported. Raises as `messages`."""
        for each in self.messages():
            if each.id is not None and each.file and not each.file.startswith("(File"):
                yield ExportedFile(each.chat, each.id, each.file)

    def _header(self) -> re.Match[str] | None:
        """The next text of interest outside of messages."""
        while True:
            if found := _HEADER.search(self._text, self._at):
                # A number at the end of the text may go on.
                if found.end() < len(self._text) or not self._read():
                    self._at = found.end()
                    return found
                continue
            self._at = max(self._at, len(self._text) - _MAX_HEADER)
            if not self._read():
                return None

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # always matches
            if self._at == len(self._text):
                if not self._read():
                    self.is_truncated = True
                    return
            elif self._text[self._at] == "]":
                return
            elif (message := self._message()) is None:
                self.is_truncated = True
                return
            elif isinstance(message, dict):
                yield message

    def _message(self) -> Any:
        """The message that begins here; None if the export ends in it."""
        while True:
            try:
                message, self._at = _decode(self._text, self._at)
            except RecursionError:
                raise _invalid(Text("it is nested too deeply")) from None
            except ValueError as error:  # also for a number of thousands of digits
                if len(self._text) - self._at > _MAX_MESSAGE:
                    raise _invalid(getattr(error, "msg", str(error))) from None
                if not self._read(len(self._text) - self._at):
                    return None
            else:
                return message if message is not None else {}

    def _read(self, size: int = 0) -> bool:
        """Read on, at least `size` characters. Returns whether there was anything."""
        chunk = self._file.read(max(size, _CHUNK))
        text = self._rest + chunk
        unfinished = _UNFINISHED.search(text) if chunk else None
        end = unfinished.start() if unfinished else len(text)
        self._rest = text[end:]
        text = text[:end]
        if "\\x" in text:  # the pattern takes as long as all the rest, and few chunks contain it
            text = _CONTROL.sub(r"\1\\u00\2", text)
        self._text = self._text[self._at :] + text
        self._at = 0
        return bool(chunk)


def _invalid(reason: str | Text) -> InvalidInput:
    return InvalidInput("the export is not valid JSON: {reason}", reason=reason)
