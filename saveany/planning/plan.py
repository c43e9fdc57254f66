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

    name: str  # safe: made by `names.name_for` or `names.safe_name`
    size: int | None  # bytes; None if it is not known yet
    source: dict[str, Any] = field(default_factory=dict)  # plain data by which any worker finds it again
    folder: str = ""  # below the folder of the task; each part of it safe


def plan(spec: TaskSpec, found: Sequence[Found]) -> list[Item]:
    """The items of a task. Paths within one task differ, whatever the files are called."""
    folders = [paths.join(spec.path, each.folder) if each.folder else spec.path for each in found]
    wanted = names.distinct([spec.filename or each.name for each in found], folders)
    return [
        Item(index=n, name=name, path=paths.join(folder, name), size=each.size, source=each.source)
        for n, (name, folder, each) in enumerate(zip(wanted, folders, found, strict=True))
    ]


def planned_title(spec: TaskSpec, items: Sequence[Item]) -> str:
    """`[tgfiles](file.pdf->local1:/downloads/file.pdf)`, or `3 files` and the folder."""
    if len(items) == 1:
        return title(spec.type, items[0].name, spec.storage, items[0].path)
    return title(spec.type, f"{len(items)} files", spec.storage, spec.path)
