"""Logins of Pyrogram and its forks (Kurigram): their SQLite file, and three layouts of their string."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence

from saveany.moving_in.found import FoundLogin, UnreadableSource, checked_login
from saveany.moving_in.sessions.telethon import number
from saveany.moving_in.sqlite import SqliteFile, has

_PROGRAM = "Pyrogram"
#: A string without its padding, by its length: data center, id of the application, whether it is of the test
#: servers, key, user, whether it is a bot. The older layouts do not name the application.
_FORMATS = {362: ">BI?256sQ?", 356: ">B?256sQ?", 351: ">B?256sI?"}
_COLUMNS = ("dc_id", "test_mode", "auth_key", "user_id", "is_bot")
_MAX_ROWS = 16


def is_database(tables: Mapping[str, Sequence[str]]) -> bool:
    """Whether a database is a session of Pyrogram."""
    return has(tables, "sessions", *_COLUMNS)


def read_database(file: SqliteFile, source: str) -> FoundLogin:
    """The login in a session of Pyrogram. Raises `UnreadableSource`."""
    known = [name for name in ("server_address", "port", "api_id") if has(file.tables(), "sessions", name)]
    rows = file.rows("sessions", (*_COLUMNS, *known), at_most=_MAX_ROWS)
    row = next((each for each in rows if each["auth_key"]), None)
    if row is None or not isinstance(row["auth_key"], bytes):
        raise UnreadableSource("it contains no login")
    return checked_login(
        source=source,
        program=_PROGRAM,
        dc_id=number(row["dc_id"]),
        key=row["auth_key"],
        address=(str(row.get("server_address") or ""), number(row.get("port"))),
        user_id=number(row["user_id"]),
        app_id=number(row.get("api_id")),
        is_bot=bool(row["is_bot"]),
        is_test=bool(row["test_mode"]),
    )


def read_string(text: str, source: str) -> FoundLogin | None:
    """The login in a session string of Pyrogram; None if the text is none. Raises `UnreadableSource`."""
    bare = text.rstrip("=")
    layout = _FORMATS.get(len(bare))
    if layout is None:
        return None
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
        dc_id, *app_id, is_test, key, user_id, is_bot = struct.unpack(layout, data)
    except (binascii.Error, struct.error):
        return None
    return checked_login(
        source=source,
        program=_PROGRAM,
        dc_id=dc_id,
        key=key,
        user_id=user_id,
        app_id=app_id[0] if app_id else 0,
        is_bot=is_bot,
        is_test=is_test,
    )
