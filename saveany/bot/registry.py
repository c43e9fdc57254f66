"""The commands and buttons of the bot, collected from the modules of `saveany/bot/commands`.

A module has `COMMANDS`, or `BUTTONS`, or both; one line in `saveany/bot/commands/__init__.py` adds it. The
help text, the command menu in Telegram and docs/reference/bot.md are generated from them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import ModuleType

from saveany.bot.context import Context

#: Handles a command or a button. The text is what follows the command, or the action in a button's data.
Handler = Callable[[Context, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that users send, beginning with a slash."""

    name: str
    run: Handler
    description: str  # in English; the catalogs translate it
    usage: Sequence[str] = ()  # the arguments it takes, one form per line
    admin: bool = False  # for admins only
    private: bool = False  # not available in groups
    source: str = ""  # the task type without which the command is useless


def commands(modules: Iterable[ModuleType], first: Iterable[Command] = ()) -> dict[str, Command]:
    """`first` and the commands of all modules, by name. Raises `AssertionError` for a duplicate name."""
    found: dict[str, Command] = {}
    for command in chain(first, *(getattr(module, "COMMANDS", ()) for module in modules)):
        if command.name in found:
            raise AssertionError(f"/{command.name} is defined twice")
        found[command.name] = command
    return found


def buttons(modules: Iterable[ModuleType]) -> Mapping[str, Handler]:
    """The handlers of all buttons, by the action that their data begins with. Raises `AssertionError` for a
    duplicate action."""
    found: dict[str, Handler] = {}
    for module in modules:
        for action, handler in getattr(module, "BUTTONS", {}).items():
            if action in found:
                raise AssertionError(f"the button {action!r} is defined twice")
            found[action] = handler
    return found
