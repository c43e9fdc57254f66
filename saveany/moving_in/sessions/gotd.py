"""Logins of gotd, the Go library: JSON, which gotgproto (SaveAny-Bot) keeps in SQLite and tdl in bbolt."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from saveany.moving_in.found import FoundLogin, UnreadableSource, checked_login
from saveany.moving_in.sqlite import SqliteFile, has

_VERSION = 1
_MAX_ROWS = 16


def is_session(data: object) -> bool:
    """Whether a JSON document is such a session."""
    return isinstance(data, dict) and set(data) == {"Version", "Data"}


def read_json(text: str | bytes, source: str, program: str = "gotd") -> FoundLogin:
    """The login in a JSON text. Raises `UnreadableSource`."""
    try:
        return read(json.loads(text), source, program)
    except (ValueError, RecursionError) as error:
        raise UnreadableSource("its session is not JSON") from error


def read(document: Any, source: str, program: str = "gotd") -> FoundLogin:
    """The login in a session. Raises `UnreadableSource`."""
    if not is_session(document) or not isinstance(document["Data"], dict):
        raise UnreadableSource("its session is not one of gotd")
    if document["Version"] != _VERSION:
        raise UnreadableSource(
            "its session has version {version}, but only version {known} is known",
            version=str(document["Version"])[:20],
            known=_VERSION,
        )
    data = document["Data"]
    key, key_id = _bytes(data.get("AuthKey")), _bytes(data.get("AuthKeyID"))
    if key and key_id != hashlib.sha1(key, usedforsecurity=False).digest()[-8:]:
        raise UnreadableSource("it contains no login: its key is empty or damaged")
    config = data.get("Config")
    return checked_login(
        source=source,
        program=program,
        dc_id=_number(data.get("DC")),
        key=key,
        address=_address(data.get("Addr")),
        is_test=isinstance(config, dict) and config.get("TestMode") is True,
    )


def is_gotgproto(tables: Mapping[str, Sequence[str]]) -> bool:
    """Whether a database is one of gotgproto."""
    return has(tables, "sessions", "version", "data")


def read_gotgproto(file: SqliteFile, source: str) -> FoundLogin:
    """The login in a database of gotgproto. Raises `UnreadableSource`."""
    rows = file.rows("sessions", ("version", "data"), at_most=_MAX_ROWS)
    data = next((row["data"] for row in rows if row["version"] == _VERSION), None)
    if not isinstance(data, str | bytes) or not data:
        raise UnreadableSource("it contains no login")
    return read_json(data, source, "SaveAny-Bot (gotgproto)")


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:  # also for a text that is not ASCII
        return b""


def _number(value: object) -> int:
    return value if type(value) is int else 0


def _address(value: object) -> tuple[str, int]:
    """`host:port`; nothing for anything else."""
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
        return host, int(port)
    except ValueError:
        return "", 0
