"""`Call`: the properties of a request by which faults and counters select it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from saveany.sandbox.key_store import StoredKey


@dataclass(frozen=True)
class Call:
    """A request: its method, connection, account and file."""

    method: str  # Telegram's name of it: "upload.getFile"
    connection: int  # counted from 1 over all data centers
    account: int | None = None
    file: int | None = None
    key: StoredKey | None = field(default=None, compare=False, repr=False)


def method_name(request: Any) -> str:
    """Telegram's name of a request's method: `upload.getFile` for `functions.upload.GetFileRequest`."""
    kind = type(request)
    namespace = str(kind.__module__).partition(".functions")[2].lstrip(".")
    name = kind.__name__.removesuffix("Request")
    name = name[:1].lower() + name[1:]
    return f"{namespace}.{name}" if namespace else name


class CallCounters:
    """Counts requests and sent bytes of files; both can be queried by any field of the calls."""

    def __init__(self) -> None:
        self._requests: Counter[Call] = Counter()
        self._bytes: Counter[Call] = Counter()

    def count(self, call: Call) -> None:
        """Count a request."""
        self._requests[call] += 1

    def sent(self, call: Call, length: int) -> None:
        """Count bytes of a file that were sent in reply to a call."""
        self._bytes[call] += length

    def requests(self, **where: object) -> int:
        """The number of requests whose calls have these values, e.g. `requests(method="upload.getFile",
        file=1003)`."""
        return _total(self._requests, where)

    def bytes(self, **where: object) -> int:
        """The number of bytes of files sent for calls with these values."""
        return _total(self._bytes, where)

    def by(self, name: str, **where: object) -> dict[Any, int]:
        """Requests per value of one field, e.g. `by("connection", method="upload.getFile")`."""
        return _grouped(self._requests, name, where)

    def bytes_by(self, name: str, **where: object) -> dict[Any, int]:
        """Bytes of files sent per value of one field."""
        return _grouped(self._bytes, name, where)

    def clear(self) -> None:
        """Reset all counters."""
        self._requests.clear()
        self._bytes.clear()


def _total(counter: Counter[Call], where: dict[str, object]) -> int:
    return sum(number for call, number in counter.items() if _fits(call, where))


def _grouped(counter: Counter[Call], name: str, where: dict[str, object]) -> dict[Any, int]:
    groups: Counter[Any] = Counter()
    for call, number in counter.items():
        if _fits(call, where):
            groups[getattr(call, name)] += number
    return dict(groups)


def _fits(call: Call, where: dict[str, object]) -> bool:
    return all(getattr(call, name) == value for name, value in where.items())
