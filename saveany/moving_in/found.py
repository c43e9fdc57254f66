"""What the readers find in files of other programs."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saveany.errors import SaveAnyError
from saveany.texts import Text

#: Number of bytes of an authorization key.
KEY_BYTES = 256
#: The data centers of Telegram, by their numbers: where a login is used, whatever address a file names.
ADDRESSES = {
    1: "149.154.175.53",
    2: "149.154.167.51",
    3: "149.154.175.100",
    4: "149.154.167.91",
    5: "91.108.56.130",
}
PORT = 443
#: Telegram's test servers.
_TEST_ADDRESSES = frozenset({"149.154.175.10", "149.154.167.40", "149.154.175.117"})
_MAX_DC = 1000


class UnreadableSource(SaveAnyError):
    """A file cannot be read, or is not what it seems to be."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Something that is not taken over, by name, and why."""

    name: str
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLogin:
    """A login of another program."""

    source: str  # the file, as it is shown
    program: str  # what has made it
    dc_id: int
    key: bytes = field(repr=False)
    address: tuple[str, int] = ("", 0)  # of the data center, as the file names it; "" if it names none
    user_id: int = 0  # 0: the file does not tell
    app_id: int = 0  # of the application that has made it; 0: the file does not tell
    is_bot: bool = False  # False also if the file does not tell
    is_test: bool = False  # whether the file says that it is of the test servers

    @property
    def fingerprint(self) -> str:
        """Identifies the login without revealing its key; the same as that of `telegram.session.Login`."""
        return hashlib.sha256(self.key).hexdigest()[:16]

    @property
    def of_test_server(self) -> bool:
        """Whether it belongs to a test server."""
        return self.is_test or self.address[0] in _TEST_ADDRESSES or _is_private(self.address[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRule:
    """A rule of SaveAny-Bot."""

    kind: str  # FILENAME-REGEX, MESSAGE-REGEX, IS-ALBUM
    data: str
    storage: str  # or CHOSEN
    folder: str  # or NEW-FOR-ALBUM


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWatch:
    """A watched chat of SaveAny-Bot."""

    chat: int
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundUser:
    """The settings of a user of SaveAny-Bot."""

    id: int  # of Telegram
    silent: bool
    storage: str
    folder: str | None  # default folder; None if there is none
    rules_on: bool
    naming: str  # default, message, template
    template: str
    on_conflict: str
    shortcuts: tuple[tuple[str, str], ...]  # storage and folder
    rules: tuple[FoundRule, ...]  # in SaveAny-Bot's order: the last that matches applies
    watches: tuple[FoundWatch, ...]


@dataclass(frozen=True, slots=True)
class FoundConfig:
    """The configuration of a SaveAny-Bot."""

    file: Path
    text: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)


@dataclass(slots=True)
class Finds:
    """Everything that was found."""

    logins: list[FoundLogin] = field(default_factory=list)
    users: list[FoundUser] = field(default_factory=list)
    configs: list[FoundConfig] = field(default_factory=list)
    left_out: list[NotTaken] = field(default_factory=list)

    def leave_out(self, name: str, why: str | Text, **fields: Any) -> None:
        """Note that something is not taken over. `why` is a template for `fields`, or a finished text."""
        self.left_out.append(NotTaken(name, why if isinstance(why, Text) else Text(why, fields)))


def checked_login(**fields: Any) -> FoundLogin:
    """A login whose values are possible. Raises `UnreadableSource`."""
    login = FoundLogin(**fields)
    if len(login.key) != KEY_BYTES or not any(login.key):
        raise UnreadableSource("it contains no login: its key is empty or damaged")
    if not 1 <= login.dc_id <= _MAX_DC:
        raise UnreadableSource("its data center has an impossible number, {number}", number=login.dc_id)
    if not 0 <= login.address[1] < 1 << 16:
        raise UnreadableSource("its data center has an impossible port, {number}", number=login.address[1])
    return login


def _is_private(host: str) -> bool:
    try:
        return bool(host) and not ipaddress.ip_address(host).is_global
    except ValueError:
        return True  # a name: Telegram's data centers have none
