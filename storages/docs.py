"""docs/reference/storages.md: the capabilities of each type of storage.

`python -m storages.docs` writes it.
"""

from __future__ import annotations

import re
from dataclasses import fields
from inspect import getsource
from pathlib import Path

from storages import registry
from storages.base import Capabilities

REFERENCE = Path("docs/reference/storages.md")

_HEAD = """# Storages

<!-- Written by `make docs` from the declared capabilities; do not edit. -->

What each type of storage can do. Their options are in [Configuration](config.md), how to set them up is in
[Set up storages](../howto/storages.md). `GET /api/v1/storages` returns the same for a running SaveAny.

"""


def reference() -> str:
    """The text of the page."""
    types = [type_ for type_ in registry.TYPES if type_ != "minio"]
    able = {type_: registry.capabilities(type_) for type_ in types}
    lines = [f"- `{type_}`: {registry.TYPES[type_].description}" for type_ in types]
    lines += ["", f"| Capability | {' | '.join(types)} |", f"|---|{'---|' * len(types)}"]
    for each in fields(Capabilities):
        marks = ("yes" if getattr(able[type_], each.name) else "" for type_ in types)
        lines.append(f"| `{each.name}` | {' | '.join(marks)} |")
    lines += ["", "| Capability | Meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in _meanings()]
    return _HEAD + "\n".join(lines) + "\n"


def _meanings() -> list[tuple[str, str]]:
    """The capabilities, with the comments of the contract."""
    return re.findall(r"^    (\w+): bool = False  # (.*)$", getsource(Capabilities), re.MULTILINE)


def write(root: Path) -> None:
    """Write the page under `root`, the root of the repository."""
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[1])
