"""Cursors of lists sorted by time: the time and the id of the last task on a page."""

from __future__ import annotations

from saveany.errors import InvalidInput

#: Maximum number of records that one request reads; its cursor leads to the rest.
MAX_EXAMINED = 5_000
#: Records read at a time if some of them may not match.
BATCH = 500

#: Time in ms and id of a task.
Position = tuple[int, str]


def make_cursor(at: Position | None) -> str:
    """The cursor of a position; "" for None."""
    return f"{at[0]}-{at[1]}" if at else ""


def parse_cursor(cursor: str) -> Position | None:
    """The position of a cursor; None for an empty one. Raises `InvalidInput`."""
    if not cursor:
        return None
    time, _, task_id = cursor.partition("-")
    if not time.isascii() or not time.isdigit() or len(time) > 15 or not task_id.isalnum():
        raise InvalidInput("this cursor is not valid; leave it out to start from the beginning", "cursor")
    return int(time), task_id
