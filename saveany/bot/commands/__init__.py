"""All commands and buttons of the bot."""

from __future__ import annotations

from saveany.bot import cards, registry
from saveany.bot.commands import (
    archive,
    downloads,
    helping,
    links,
    login,
    rules,
    saving,
    settings,
    tasks,
    watch,
)
from saveany.bot.texts import translator
from saveany.languages import LANGUAGES

_MODULES = (saving, downloads, tasks, links, settings, rules, watch, archive, login, cards)

COMMANDS: dict[str, registry.Command] = {}
COMMANDS |= registry.commands(_MODULES, first=helping.commands(COMMANDS))
BUTTONS = registry.buttons(_MODULES)


def menu() -> dict[str, list[tuple[str, str]]]:
    """The command menu of Telegram by language code: names and descriptions. "" is for all other
    languages."""
    codes = {"": "en"} | {tag.partition("-")[0]: tag for tag in LANGUAGES if tag != "en"}
    return {
        code: [(name, translator(tag)(command.description)) for name, command in COMMANDS.items()]
        for code, tag in codes.items()
    }
