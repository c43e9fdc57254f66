"""The documentation as data: its pages, their links, and the examples marked to be run.

<!-- test -->                 the code block that follows is run
<!-- test: receiver -->       … by the test of that name
<!-- expect: some text -->    after the block: what its output must contain; several are possible
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

_EXAMPLE = re.compile(
    r"^ *<!-- test(?:: (?P<name>\w+))? -->\n"
    r" *```(?P<language>\w+)\n(?P<code>.*?)^ *```\n"
    r"(?P<expected>(?: *<!-- expect: .*? -->\n)*)",
    re.DOTALL | re.MULTILINE,
)
_FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A code block to be run."""

    name: str
    language: str
    code: str
    expected: tuple[str, ...]


def pages() -> list[Path]:
    """Every page for readers."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[Example]:
    """The examples of a page, in order."""
    return [
        Example(
            found["name"] or "",
            found["language"],
            textwrap.dedent(found["code"]),
            tuple(re.findall(r"<!-- expect: (.*?) -->", found["expected"])),
        )
        for found in _EXAMPLE.finditer(page.read_text())
    ]


def links(page: Path) -> Iterator[str]:
    """Targets of the links on a page."""
    yield from _LINK.findall(_FENCE.sub("", page.read_text()))


def code(page: Path) -> str:
    """All code of a page, on separate lines: fenced and indented blocks, words in backticks."""
    text = page.read_text()
    blocks = _FENCE.findall(text)
    rest = _FENCE.sub("", text)
    indented = [line for line in rest.splitlines() if line.startswith("    ")]
    return "\n".join([*blocks, *indented, *re.findall(r"`([^`\n]+)`", rest)])


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in _HEADING.findall(text)}
