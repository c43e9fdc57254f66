"""Commands and buttons: what there is, who may, and what each is about.

A module of `saveany/bot/commands` has `COMMANDS`, or `PRESSES` for its buttons, or both; one line in
`saveany/bot/commands/__init__.py` adds it. Help, the menu in Telegram and docs/reference/bot.md are made
from that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from saveany.bot.context import Context

#: Does what was asked for; `words` is what stands behind the command, or behind the verb of a button.
Handler = Callable[[Context, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """Something that begins with a slash."""

    name: str
    run: Handler
    about: str  # in English; the catalogs translate it
    usage: Sequence[str] = ()  # what may stand behind it, a line each
    admin: bool = False
    private: bool = False  # not in groups
    source: str = ""  # the task type without which it is of no use


def commands(modules: Iterable[ModuleType]) -> dict[str, Command]:
    """All commands by name. A name that is there twice is a mistake in the program."""
    found: dict[str, Command] = {}
    for module in modules:
        for each in getattr(module, "COMMANDS", ()):
            if each.name in found:
                raise AssertionError(f"/{each.name} is there twice")
            found[each.name] = each
    return found


def presses(modules: Iterable[ModuleType]) -> Mapping[str, Handler]:
    """What a button does, by the verb its data begins with."""
    found: dict[str, Handler] = {}
    for module in modules:
        for verb, run in getattr(module, "PRESSES", {}).items():
            if verb in found:
                raise AssertionError(f"the button {verb!r} is there twice")
            found[verb] = run
    return found
