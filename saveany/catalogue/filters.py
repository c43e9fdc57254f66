"""What to list, and what comes back. Nothing here needs a database."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.models import Task


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Filters for ended tasks; empty fields match all. Times are ms; `until` is exclusive."""

    status: str = ""
    type: str = ""
    user_id: int | None = None
    storage: str = ""
    q: str = ""  # substring of title or error, ignoring case
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of ended tasks. `cursor` leads to the next page; it is empty on the last one."""

    tasks: list[Task]
    cursor: str
