"""/start and /help."""

from __future__ import annotations

from collections.abc import Iterator

from saveany import __version__
from saveany.bot import commands
from saveany.bot.registry import Command
from saveany.bot.texts import Refused, plain, said
from saveany.bot.visit import Visit


async def start(visit: Visit, words: str) -> None:
    """Who the bot is."""
    t = visit.t
    await visit.say(
        t("Send me files, forward messages to me, or paste links: I save them for you.")
        + "\n\n"
        + t("/help lists what I can do.")
    )


async def help_(visit: Visit, words: str) -> None:
    """All commands, or one in detail."""
    name = words.removeprefix("/").lower()
    if not name:
        await visit.say("\n".join(_all(visit)))
        return
    command = commands.COMMANDS.get(name)
    if command is None:
        raise Refused(said("there is no command /{name}"), name=name)
    await visit.say("\n".join(_one(visit, command)))


def _all(visit: Visit) -> Iterator[str]:
    yield f"SaveAny {__version__}"
    yield ""
    for command in commands.COMMANDS.values():
        if visit.is_admin or not command.admin:
            yield f"/{command.name}: {plain(visit.t(command.about))}"
    yield ""
    yield visit.t("/help and the name of a command tell more about it.")


def _one(visit: Visit, command: Command) -> Iterator[str]:
    yield f"<b>/{command.name}</b>: {plain(visit.t(command.about))}"
    for line in command.usage:
        yield f"<code>/{plain(f'{command.name} {line}'.strip())}</code>"


COMMANDS = (
    Command("start", start, said("Begin")),
    Command("help", help_, said("What I can do"), usage=("", "save")),
)
