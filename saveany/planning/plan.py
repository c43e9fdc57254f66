"""What a task will store where: from the files behind its links to its items. The one planner there is."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from saveany.models import Item, Rule, TaskSpec, title
from saveany.planning import names, paths, templates
from saveany.planning.facts import Facts
from saveany.planning.rules import decide
from saveany.store.tasks import created_ms


@dataclass(frozen=True, slots=True)
class ResolvedFile:
    """One file behind a link, as a source sees it."""

    name: str  # safe: made by `names.name_for` or `names.safe_name`
    size: int | None  # bytes; None if it is not known yet
    source: dict[str, Any] = field(default_factory=dict)  # plain data by which any worker finds it again
    folder: str = ""  # below the folder of the task; each part of it safe
    album: str = ""  # the same for all files that were posted together
    caption: str = ""  # the text of its own message
    # What else is known; name, size, number and folder are filled in here.
    facts: Facts = field(default_factory=Facts)


def plan(spec: TaskSpec, found: Sequence[ResolvedFile]) -> list[Item]:
    """The items of a task. Paths within one storage differ, whatever the files are called."""
    items = [_item(spec, each, index) for index, each in enumerate(found)]
    folders = [f"{item.storage}:{_folder(item)}" for item in items]
    wanted = names.distinct([item.name for item in items], folders)
    posted = Counter(each.album for each in found if each.album)
    return [
        replace(item, name=name, path=paths.sibling(item.path, name), **_company(each, posted))
        for item, name, each in zip(items, wanted, found, strict=True)
    ]


def _company(found: ResolvedFile, posted: Counter[str]) -> dict[str, str]:
    """The album of a file, if there is another file of it."""
    return {"album": found.album, "caption": found.caption} if posted[found.album] > 1 else {}


def settled(spec: TaskSpec, before: Item, ready: Item) -> Item:
    """`ready`, which is `before` as its source sees it when its turn has come: where it goes now. Many a file
    of the web has its name and its size only then, and may go elsewhere by the user's rules."""
    if not before.found:
        if spec.filename or ready.name == before.name:
            return replace(ready, name=before.name)
        return replace(ready, path=paths.sibling(before.path, ready.name))
    folder, _, name = before.found.rpartition("/")
    if ready.name == name and (before.size is not None or ready.size is None):
        return replace(ready, name=before.name)
    there = _item(spec, ResolvedFile(ready.name, ready.size, ready.source, folder), before.index)
    return replace(ready, name=there.name, path=there.path, storage=there.storage, found=there.found)


def found_name(item: Item) -> str:
    """What the source of an item calls it."""
    return item.found.rpartition("/")[2] or item.name


def _item(spec: TaskSpec, found: ResolvedFile, index: int) -> Item:
    """One file of a task by itself: named by the user's template, then placed by the first of the rules."""
    facts = _facts(spec, found, index)
    below, name = templates.file_path(spec.template, facts) if spec.template else ("", found.name)
    name = spec.filename or name
    rule = decide(spec.rules, dataclasses.replace(facts, name=name)) or Rule()
    chosen = templates.folder_path(rule.folder, facts)
    folder = "/".join(filter(None, (spec.path if chosen is None else chosen, found.folder, below)))
    return Item(
        index=index,
        name=name,
        path=paths.join(folder, name),
        size=found.size,
        source=found.source,
        storage=rule.storage if rule.storage != spec.storage else "",
        found=paths.join(found.folder, found.name) if spec.template or spec.rules else "",
    )


def _facts(spec: TaskSpec, found: ResolvedFile, index: int) -> Facts:
    return dataclasses.replace(
        found.facts,
        name=found.name,
        size=found.size,
        number=index + 1,
        folder=spec.path,
        date_ms=found.facts.date_ms or created_ms(spec.id),
    )


def _folder(item: Item) -> str:
    return item.path.rpartition("/")[0]


def planned_title(spec: TaskSpec, items: Sequence[Item]) -> str:
    """`[tgfiles](file.pdf->local1:/downloads/file.pdf)`, or `3 files` and the folder."""
    if len(items) == 1:
        item = items[0]
        return title(spec.type, item.name, item.storage or spec.storage, item.path)
    return title(spec.type, f"{len(items)} files", spec.storage, spec.path)
