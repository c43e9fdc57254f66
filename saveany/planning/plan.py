"""Plans the items of a task: the name, folder and storage of each file behind its links."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from saveany.ids import created_ms
from saveany.models import Item, Rule, TaskSpec, title
from saveany.planning import names, paths, templates
from saveany.planning.facts import Facts
from saveany.planning.rules import first_match
from saveany.sources import LIVE
from saveany.texts import Text

#: Maximum length of the text of a message that is kept with its file, in characters.
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class ResolvedFile:
    """One file behind a link, as its source describes it."""

    name: str  # safe: made by `names.name_for` or `names.safe_name`
    size: int | None  # bytes; None while it is unknown
    source: dict[str, Any] = field(default_factory=dict)  # plain data with which any worker finds the file
    folder: str = ""  # below the folder of the task; each of its parts is safe
    album: str = ""  # equal for all files that were posted together
    caption: str = ""  # the text of its own message
    # Further properties; name, size, number and folder of these are filled in by the planner.
    facts: Facts = field(default_factory=Facts)


def plan(spec: TaskSpec, found: Sequence[ResolvedFile]) -> list[Item]:
    """The items of a task. No two of them have the same path in the same storage."""
    items = [_item(spec, each, index) for index, each in enumerate(found)]
    folders = [f"{item.storage}:{_folder(item)}" for item in items]
    wanted = names.make_distinct([item.name for item in items], folders)
    posted = Counter(each.album for each in found if each.album)
    return [
        replace(item, name=name, path=paths.sibling(item.path, name), **_album_fields(each, posted))
        for item, name, each in zip(items, wanted, found, strict=True)
    ]


def _album_fields(found: ResolvedFile, posted: Counter[str]) -> dict[str, str]:
    """The fields `album` and `caption` of an item, if its album has more than one file."""
    return {"album": found.album, "caption": found.caption} if posted[found.album] > 1 else {}


def further_item(spec: TaskSpec, found: ResolvedFile, index: int) -> Item:
    """The item of a file that comes to a task later. Another item may have its path."""
    return _item(spec, found, index)


def with_final_path(spec: TaskSpec, before: Item, ready: Item) -> Item:
    """`ready` with its final name, path and storage.

    `before` is the planned item, `ready` the same item as its source describes it just before the download.
    The name and the size of many web files are known only then, and the user's rules may apply to them.
    """
    if not before.found:
        if spec.filename or ready.name == before.name:
            return replace(ready, name=before.name)
        return replace(ready, path=paths.sibling(before.path, ready.name))
    folder, _, name = before.found.rpartition("/")
    if ready.name == name and (before.size is not None or ready.size is None):
        return replace(ready, name=before.name)
    new = _item(spec, ResolvedFile(ready.name, ready.size, ready.source, folder), before.index)
    return replace(ready, name=new.name, path=new.path, storage=new.storage, found=new.found)


def source_name(item: Item) -> str:
    """The name that the source gives an item."""
    return item.found.rpartition("/")[2] or item.name


def rule_for(spec: TaskSpec, found: ResolvedFile, index: int) -> Rule | None:
    """The rule of the user that places a file; None if none does."""
    facts = _facts(spec, found, index)
    return first_match(spec.rules, dataclasses.replace(facts, name=_named(spec, found, facts)[1]))


def _named(spec: TaskSpec, found: ResolvedFile, facts: Facts) -> tuple[str, str]:
    """Folder and name by the user's template."""
    below, name = templates.file_path(spec.template, facts) if spec.template else ("", found.name)
    return below, spec.filename or name


def _item(spec: TaskSpec, found: ResolvedFile, index: int) -> Item:
    """The item of one file: named by the user's template, then placed by the first rule that matches."""
    facts = _facts(spec, found, index)
    below, name = _named(spec, found, facts)
    rule = rule_for(spec, found, index) or Rule()
    chosen = templates.folder_path(rule.folder, facts)
    folder = "/".join(filter(None, (spec.path if chosen is None else chosen, found.folder, below)))
    return Item(
        index=index,
        name=name,
        path=paths.join(folder, name),
        size=found.size,
        text=facts.text[:_MAX_TEXT],
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


def planned_subject(spec: TaskSpec, items: Sequence[Item]) -> Text:
    """The part of a title that names the files: the name of a single file, otherwise their number. A task
    that grows is named by its link."""
    if not items and spec.type == LIVE:
        return Text(str(spec.params.get("title") or spec.links[0]))
    return Text(items[0].name) if len(items) == 1 else Text("{n} files", {"n": len(items)})


def planned_title(spec: TaskSpec, items: Sequence[Item]) -> str:
    """`[tgfiles](file.pdf->local1:/downloads/file.pdf)`; for several files their number and the folder."""
    subject = str(planned_subject(spec, items))
    if len(items) == 1:
        item = items[0]
        return title(spec.type, subject, item.storage or spec.storage, item.path)
    return title(spec.type, subject, spec.storage, spec.path)
