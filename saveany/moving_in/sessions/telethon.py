"""Logins of Telethon: its SQLite file and its session string."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import struct
from collections.abc import Mapping, Sequence

from saveany.moving_in.found import FoundLogin, UnreadableSource, checked_login
from saveany.moving_in.sqlite import SqliteFile, has

_PROGRAM = "Telethon"
#: "1", and the base64 of data center, address (IPv4 or IPv6), port and key.
_STRING = re.compile(r"1(?:[A-Za-z0-9_-]{351}|[A-Za-z0-9_-]{367})=")
_FORMATS = {263: ">B4sH256s", 275: ">B16sH256s"}
_MAX_ROWS = 16


def is_database(tables: Mapping[str, Sequence[str]]) -> bool:
    """Whether a database is a session of Telethon."""
    return has(tables, "sessions", "dc_id", "server_address", "port", "auth_key") and not has(
        tables, "sessions", "test_mode"
    )


def read_database(file: SqliteFile, source: str) -> FoundLogin:
    """The login in a session of Telethon. Raises `UnreadableSource`."""
    rows = file.rows("sessions", ("dc_id", "server_address", "port", "auth_key"), at_most=_MAX_ROWS)
    row = next((each for each in rows if each["auth_key"]), None)
    if row is None or not isinstance(row["auth_key"], bytes):
        raise UnreadableSource("it contains no login")
    return checked_login(
        source=source,
        program=_PROGRAM,
        dc_id=number(row["dc_id"]),
        key=row["auth_key"],
        address=(str(row["server_address"] or ""), number(row["port"])),
    )


def read_string(text: str, source: str) -> FoundLogin | None:
    """The login in a session string of Telethon; None if the text is none. Raises `UnreadableSource`."""
    if not _STRING.fullmatch(text):
        return None
    try:
        data = base64.b64decode(text[1:].encode(), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    if len(data) not in _FORMATS:
        return None
    dc_id, host, port, key = struct.unpack(_FORMATS[len(data)], data)
    address = (str(ipaddress.ip_address(host)), port)
    return checked_login(source=source, program=_PROGRAM, dc_id=dc_id, key=key, address=address)


def number(value: object) -> int:
    """A number in a row; 0 for anything else."""
    return value if isinstance(value, int) else 0
