"""What a task will store where: from the files behind its links to its items. The one planner there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from saveany.models import Item, TaskSpec, title
from saveany.planning import names, paths


@dataclass(frozen=True, slots=True)
class Found:
    """One file behind a link, as a source sees it."""

    name: str  # safe: made by `names.name_for`
    size: int | None  # bytes; None if it is known only at the end
    source: dict[str, Any] = field(default_factory=dict)  # plain data by which any worker finds it again


def plan(spec: TaskSpec, found: Sequence[Found]) -> list[Item]:
    """The items of a task. Names within one task differ, whatever the files are called."""
    wanted = names.distinct([spec.filename or each.name for each in found])
    return [
        Item(index=n, name=name, path=paths.join(spec.path, name), size=each.size, source=each.source)
        for n, (name, each) in enumerate(zip(wanted, found, strict=True))
    ]


def planned_title(spec: TaskSpec, items: Sequence[Item]) -> str:
    """`[tgfiles](file.pdf->local1:/downloads/file.pdf)`, or `3 files` and the folder."""
    if len(items) == 1:
        return title(spec.type, items[0].name, spec.storage, items[0].path)
    return title(spec.type, f"{len(items)} files", spec.storage, spec.path)
