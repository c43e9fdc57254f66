"""Generates docs/reference/cli.md from the commands. `python -m saveany.cli.reference` writes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperGroup

from saveany import cli

REFERENCE = Path("docs/reference/cli.md")

_INTRODUCTION = """
# Command line

<!-- Generated from saveany/cli by `python -m saveany.cli.reference`. -->

`saveany [--config FILE] COMMAND …`. Every command has `--help`. `saveany --install-completion` adds the
completion of commands and options to your shell.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | Success. |
| 1 | Failure; the last line of stderr says why. |
| 2 | The configuration or the command line is wrong. Nothing was changed. |
| 130 | Interrupted by Ctrl-C. |

Commands with other exit codes list them below.
"""


def reference() -> str:
    """The text of docs/reference/cli.md."""
    group = cast(TyperGroup, typer.main.get_command(cli.app))  # because the application has several commands
    context = group.make_context("saveany", [*cli.COMMANDS][:1], resilient_parsing=True)
    lines = [*_INTRODUCTION.strip().splitlines(), "", "## Options of every command"]
    lines += _parameters(group, context)
    for name in cli.COMMANDS:
        _, command, _ = group.resolve_command(context, [name])
        lines += _command(command, name, context)
    return "\n".join([*lines, ""])


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    """The section of a command, then those of the commands inside it."""
    context = type(parent)(command, info_name=name, parent=parent)
    yield from ("", f"## `{context.command_path}`", "", _text(command.help))
    inner = getattr(command, "commands", {})
    if not inner:
        yield from ("", "```text", _usage(command, context), "```")
        yield from _parameters(command, context)
    for each, subcommand in inner.items():
        yield from _command(subcommand, each, context)


def _usage(command: Any, context: Any) -> str:
    """`saveany add [OPTIONS] LINK...`. Typer itself puts required arguments in braces."""
    pieces = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    required = re.sub(r"\{(.*?)\.*\}", lambda found: found[1].upper(), pieces)
    return required.replace("[[", "[").replace("]]", "]")


def _parameters(command: Any, context: Any) -> Iterator[str]:
    """A table of arguments and options, if there are any."""
    records = [each.get_help_record(context) for each in command.params if not getattr(each, "hidden", False)]
    rows = [(_code(record[0]), _cell(record[1])) for record in records if record and record[1]]
    if rows:
        yield from ("", "| Option | Description |", "|---|---|")
        yield from (f"| {option} | {meaning} |" for option, meaning in rows)


def _text(help_: str | None) -> str:
    """The help text with each paragraph on one line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc((help_ or "").replace("\b", "")))
    return "\n\n".join(each if each.startswith(" ") else " ".join(each.split()) for each in paragraphs)


def _code(text: str) -> str:
    return f"`{text.replace('|', '/')}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def write(root: Path) -> None:
    """Write the file under `root`, the root of the repository."""
    (root / REFERENCE).parent.mkdir(parents=True, exist_ok=True)
    (root / REFERENCE).write_text(reference())


if __name__ == "__main__":
    write(Path(__file__).parents[2])
