"""Where to go on in a list by time: a cursor is the time and the id of the last that was shown."""

from __future__ import annotations

from saveany.errors import InvalidInput

#: A request looks at no more records than this, and says with a cursor where to go on.
MAX_EXAMINED = 5_000
#: Records that are read at a time when some of them may not match.
BATCH = 500

#: Time in ms, id of the task.
Place = tuple[int, str]


def make_cursor(at: Place | None) -> str:
    """The cursor of that place."""
    return f"{at[0]}-{at[1]}" if at else ""


def parse_cursor(cursor: str) -> Place | None:
    """The place of a cursor; None for an empty one. Raises `InvalidInput`."""
    if not cursor:
        return None
    time, _, task_id = cursor.partition("-")
    if not time.isascii() or not time.isdigit() or len(time) > 15 or not task_id.isalnum():
        raise InvalidInput("this is no cursor of this list; leave it out to start again", "cursor")
    return int(time), task_id
