"""Generates docs/reference/bot.md from the commands: `python -m saveany.bot.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from saveany.bot import commands
from saveany.bot.registry import Command
from saveany.bot.texts import translator
from saveany.languages import LANGUAGES
from saveany.planning import rules, templates

REFERENCE = Path("docs/reference/bot.md")

_HEAD = """# The bot

<!-- Written by `make docs` from saveany/bot; do not edit. -->

The commands of the bot. [Use the bot](../howto/bot.md) describes how to set it up. Files and links need no
command: just send them. In a group, the bot responds when you mention it (`@your_bot`) or reply to it.
"""


def reference() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *_overview(), *_usage(), *_languages(), *_rules(), *_templates(), ""])


def _overview() -> Iterator[str]:
    yield "| Command | Purpose | Available to |"
    yield "|---|---|---|"
    for command in commands.COMMANDS.values():
        yield f"| `/{command.name}` | {command.description} | {_audience(command)} |"


def _audience(command: Command) -> str:
    audience = "admins" if command.admin else "everyone"
    return f"{audience}, in a private chat" if command.private else audience


def _usage() -> Iterator[str]:
    yield "\n## Syntax\n"
    for command in commands.COMMANDS.values():
        for line in command.usage:
            yield f"    /{f'{command.name} {line}'.strip()}"


def _languages() -> Iterator[str]:
    yield "\n## Languages\n"
    yield "The bot uses the language of your Telegram app, or the one you choose with `/config`.\n"
    yield f"| Command | {' | '.join(LANGUAGES.values())} |"
    yield f"|---|{'---|' * len(LANGUAGES)}"
    for command in commands.COMMANDS.values():
        translated = " | ".join(translator(tag)(command.description) for tag in LANGUAGES)
        yield f"| `/{command.name}` | {translated} |"


def _rules() -> Iterator[str]:
    yield "\n## Rules\n"
    yield _prose(rules.__doc__)


def _templates() -> Iterator[str]:
    yield "\n## Templates\n"
    yield _prose(templates.__doc__)


def _prose(docstring: str | None) -> str:
    """A module's docstring for readers who do not know the modules."""
    return (docstring or "").strip().replace("(`saveany.planning.templates`)", "([below](#templates))")


def write(root: Path) -> None:
    """Write the page below `root`, the root of the repository."""
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[2])
