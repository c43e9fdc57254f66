"""docs/reference/bot.md, from the commands themselves. `python -m saveany.bot.reference` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from saveany.bot import commands
from saveany.bot.registry import Command
from saveany.bot.texts import LANGUAGES, translator
from saveany.planning import rules, templates

REFERENCE = Path("docs/reference/bot.md")

_HEAD = """# The bot

<!-- Written by `make docs` from saveany/bot; do not edit. -->

What people can say to the bot. How to set it up is in [Use the bot](../howto/bot.md). Files and links are
simply sent to it; in a group it answers who names it (`@your_bot`) or replies to it.
"""


def reference() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *_overview(), *_details(), *_languages(), *_rules(), *_templates(), ""])


def _overview() -> Iterator[str]:
    yield "| Command | What it is for | Who |"
    yield "|---|---|---|"
    for each in commands.COMMANDS.values():
        yield f"| `/{each.name}` | {each.about} | {_who(each)} |"


def _who(command: Command) -> str:
    who = "admins" if command.admin else "everybody"
    return f"{who}, in a private talk" if command.private else who


def _details() -> Iterator[str]:
    yield "\n## How they are written\n"
    for each in commands.COMMANDS.values():
        for line in each.usage:
            yield f"    /{f'{each.name} {line}'.strip()}"


def _languages() -> Iterator[str]:
    yield "\n## Languages\n"
    yield "The bot speaks the language of each person's app, or the one chosen with `/config`.\n"
    yield f"| Command | {' | '.join(LANGUAGES.values())} |"
    yield f"|---|{'---|' * len(LANGUAGES)}"
    for each in commands.COMMANDS.values():
        yield f"| `/{each.name}` | {' | '.join(translator(tag)(each.about) for tag in LANGUAGES)} |"


def _rules() -> Iterator[str]:
    yield "\n## Rules\n"
    yield _prose(rules.__doc__)


def _templates() -> Iterator[str]:
    yield "\n## Templates\n"
    yield _prose(templates.__doc__)


def _prose(text: str | None) -> str:
    """The text of a module for people who know nothing of modules."""
    return (text or "").strip().replace("(`saveany.planning.templates`)", "([below](#templates))")


def write(root: Path) -> None:
    """Write the page under `root`, the root of the repository."""
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[2])
