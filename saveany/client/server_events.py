"""Server-sent events of the API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

#: Seconds without data after which a stream counts as broken; the API sends a comment every 15 s.
SILENCE_SECONDS = 40.0

#: States of a task that has ended.
ENDED = ("completed", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event of a task. `type` is a type of the API's events, or `open`: the stream is established."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    @classmethod
    def parsed(cls, kind: str, data: str, id_: str) -> Self:
        """An event as it arrives. Data that is no JSON object is empty."""
        return cls(kind, _object(data), id_)

    @property
    def task_id(self) -> str:
        """The id of the task, "" for an event of the stream itself."""
        return str(self.data.get("task_id", ""))

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return self.data.get("status") in ENDED


class EventParser:
    """Parses server-sent events from chunks that may be split anywhere.

    Only LF and CR LF end a line: the JSON data may contain characters that `str.splitlines` would split
    at."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, chunk: bytes) -> list[tuple[str, str, str]]:
        """Type, data and id of each event that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        return [event for line in lines if (event := self._line(line.decode("utf-8", "replace")))]

    def _line(self, line: str) -> tuple[str, str, str] | None:
        if line:
            name, _, value = line.partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        found, self._fields = self._fields, {}
        if "data" not in found:
            return None
        return found.get("event", ["message"])[-1], "\n".join(found["data"]), found.get("id", [""])[-1]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
