"""Prints tasks and other lists as tables: cut to the width of a terminal, in full length otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from rich import filesize
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saveany.cli.client import ID_LENGTH, Json, printable
from saveany.models import subject_of

COLORS = {"completed": "green", "failed": "red", "canceled": "yellow", "running": "cyan"}
#: Minimum number of characters of an id to show, so that it is likely to stay unique.
_SHORTEST_ID = 8
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
#: Width in columns if stdout is not a terminal; nothing is cut then.
_UNLIMITED = 10_000


def print_tasks(tasks: Sequence[Json]) -> None:
    """Print tasks as a table: id, state, name, size, progress, speed and age.

    On a terminal, ids are shortened as far as they stay unique in the table, and names as far as needed.
    """
    table = new_table(
        "ID",
        "STATE",
        "NAME",
        "SIZE",
        "DONE",
        "SPEED",
        "AGE",
        wide="NAME",
        right=("SIZE", "DONE", "SPEED", "AGE"),
    )
    length = _id_length([task["task_id"] for task in tasks]) if sys.stdout.isatty() else ID_LENGTH
    for task in tasks:
        progress = task["progress"]
        running = task["status"] == "running"
        size = progress["total_bytes"] or progress["downloaded_bytes"]
        table.add_row(
            task["task_id"][:length],
            Text(state(task), style=COLORS.get(state(task), "")),
            Text(_name(task)),
            short_size(size) if size else "",
            f"{int(progress['percent'])}%" if progress["total_bytes"] == size else "",
            f"{short_size(round(progress['speed_bps']))}/s" if running else "",
            age(task["created_at"]),
        )
    print_table(table)


def new_table(*columns: str, wide: str, right: Sequence[str] = ()) -> Table:
    """A table without lines. The column `wide` is shortened if the terminal is too narrow; columns in `right`
    are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if name in right else "left",
            ratio=1 if name == wide else None,
        )
    return table


def print_table(table: Table) -> None:
    """Print the table, in the width of the terminal if stdout is one."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _UNLIMITED, highlight=False, markup=False)
    table.expand = terminal
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def state(task: Json) -> str:
    """The status of a task, or `paused` for a paused one."""
    return "paused" if task.get("stage") == "paused" else str(task["status"])


def short_size(size: float) -> str:
    """A number of bytes in at most five characters: `64M`, `1.2G`."""
    text = filesize.decimal(round(size), precision=0 if size < 1e9 else 1)
    return text.replace(" bytes", "B").replace(" byte", "B").replace(" ", "").removesuffix("B") or "0"


def age(moment: str) -> str:
    """The time since an RFC 3339 time, in its largest unit: `3m`."""
    seconds = max(0, time.time() - datetime.fromisoformat(moment).timestamp())
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{int(seconds // size)}{unit}"


def _name(task: Json) -> str:
    error = f": {printable(task['error'])}" if task["error"] else ""
    return printable(subject_of(task["title"])) + error


def _id_length(ids: Sequence[str]) -> int:
    """The number of characters that make these ids unique."""
    ordered = sorted(ids)
    shared = 0
    for one, other in pairwise(ordered):
        same = next((n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), ID_LENGTH)
        shared = max(shared, same)
    return max(_SHORTEST_ID, shared + 1)
