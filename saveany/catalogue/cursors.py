"""Keyset cursors: the last row of a page, by the column that the list is sorted by and its id."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, literal, tuple_

from saveany.errors import InvalidInput

#: The sorted column and the id of a row. The type of the value is that of the column.
Key = tuple[int | str, str]

_decode = msgspec.json.Decoder(tuple[int | str, str]).decode


def make_cursor(key: Key) -> str:
    """The cursor that leads to the rows after this one."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def parse_cursor(cursor: str, type_: type) -> Key | None:
    """The row of a cursor; None for an empty one. Raises `InvalidInput` if the cursor is not valid or
    belongs to a list sorted by a column of another type."""
    if not cursor:
        return None
    try:
        value, id_ = _decode(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        value, id_ = "", ""
    if type(value) is not type_ or not id_.isalnum() or "\0" in str(value) or abs(_number(value)) >= 2**63:
        raise InvalidInput("this cursor is not valid; leave it out to start from the beginning", "cursor")
    return value, id_


def after(
    query: Select[Any],
    column: ColumnElement[Any],
    id_: ColumnElement[str],
    key: Key | None,
    *,
    descending: bool,
) -> Select[Any]:
    """The query, sorted by the column and the id, from the row after `key` on."""
    if key:
        row, last = tuple_(column, id_), tuple_(literal(key[0]), literal(key[1]))
        query = query.where(row < last if descending else row > last)
    order = (column.desc(), id_.desc()) if descending else (column.asc(), id_.asc())
    return query.order_by(*order)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
