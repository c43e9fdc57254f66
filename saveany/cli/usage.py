"""Describes errors of the command line in SaveAny's words instead of typer's and pydantic's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, get_args

import typer
from typer.core import TyperGroup

from saveany import validation
from saveany.errors import ConfigError

#: Typer's class for a wrong command line; it has no public name.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_EXTRA = re.compile(r"extra argument\(s\) \((.*)\)", re.DOTALL)


class CommandGroup(TyperGroup):
    """A command with subcommands. An unknown subcommand is an error that suggests a similar one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begins with. Raises `ConfigError` if there is none."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise ConfigError(
                "there is no command {name!r}; {hint}", name=name, hint=_hint(name, self.commands, ctx)
            )
        return super().resolve_command(ctx, args)


def describe(error: Exception) -> str:
    """What is wrong with the command line for which typer raised `error`, and which help to read."""
    found: Any = error
    match type(error).__name__:
        case "NoSuchOption":
            option = found.option_name
            return f"there is no option {option}; {_hint(option, found.possibilities or (), found.ctx)}"
        case "MissingParameter":
            words = f"{_label(found.param)} is missing"
        case "BadOptionUsage":
            takes_none = "not take a value" in found.message
            words = f"{found.option_name} {'takes no value' if takes_none else 'needs a value'}"
        case "BadParameter":
            words = f"{_label(found.param)} {_invalid(found)}"
        case _:
            extra = _EXTRA.search(found.message)
            words = f"unexpected argument: {extra[1]}" if extra else "the command line is not valid"
    return f"{words}; {_help(found.ctx)}" if found.ctx else words


def _hint(word: str, known: Iterable[str], ctx: Any) -> str:
    from saveany.config.hints import did_you_mean  # imports pydantic; `--help` does without

    return did_you_mean(word, known) or _help(ctx)


def _help(ctx: Any) -> str:
    return f"see `{ctx.command_path} --help`"


def _label(param: Any) -> str:
    """The option or argument as the help writes it."""
    return str(max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name)


def _invalid(error: Any) -> str:
    if choices := _choices(error.param):
        return f"must be {', '.join(choices[:-1])} or {choices[-1]}"
    errors = getattr(error.__cause__, "errors", None)
    return str(validation.describe(errors()[0])) if errors else "is not valid"


def _choices(param: Any) -> list[str]:
    annotation = param.type_descriptor.annotation
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Enum):
            return [str(choice.value) for choice in each]
    return []
