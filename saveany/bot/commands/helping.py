"""/start and /help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saveany import __version__
from saveany.bot import commands
from saveany.bot.context import Context
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, plain, said
from saveany.planning.available import source_problem
from saveany.planning.source_choice import is_enabled
from saveany.sources import sources
from saveany.store import WorkerInfo

#: What can be saved from where, in words; a source of another package has its title.
_TAKES = {
    "tgfiles": said("files of Telegram messages"),
    "directlinks": said("files at plain URLs"),
    "ytdlp": said("videos of YouTube and a thousand other sites, by yt-dlp"),
    "parseditem": said("pictures of X, Pixiv and hundreds of other sites, by gallery-dl"),
    "aria2": said("torrents and magnets, by aria2"),
    "tphpics": said("pictures of telegra.ph articles"),
    "transfer": said("files of another storage"),
}


async def start(ctx: Context, words: str) -> None:
    """Who the bot is."""
    t = ctx.t
    await ctx.say(
        t("Send me files, forward messages to me, or paste links: I save them for you.")
        + "\n\n"
        + t("/help lists what I can do.")
    )


async def help_(ctx: Context, words: str) -> None:
    """All commands, or one in detail."""
    name = words.removeprefix("/").lower()
    if not name:
        workers = await ctx.services.store.workers.living()
        await ctx.say("\n".join(_all(ctx, workers)))
        return
    command = commands.COMMANDS.get(name)
    if command is None:
        raise CommandError(said("there is no command /{name}"), name=name)
    await ctx.say("\n".join(_one(ctx, command)))


def _all(ctx: Context, workers: Sequence[WorkerInfo]) -> Iterator[str]:
    yield f"SaveAny {__version__}"
    yield ""
    for command in commands.COMMANDS.values():
        if (ctx.is_admin or not command.admin) and _is_of_use(ctx, command):
            yield f"/{command.name}: {plain(ctx.t(command.about))}"
    yield ""
    yield ctx.t("What I can save here:")
    yield from _takes(ctx, workers)
    yield ""
    yield ctx.t("/help and the name of a command tell more about it.")


def _is_of_use(ctx: Context, command: Command) -> bool:
    source = sources().get(command.source)
    return source is None or is_enabled(ctx.services.config, source)


def _takes(ctx: Context, workers: Sequence[WorkerInfo]) -> Iterator[str]:
    """What can be saved, and why the rest cannot."""
    for source in sources().values():
        words = plain(ctx.t(_TAKES.get(source.type, source.title)))
        problem = source_problem(ctx.services.config, source, workers)
        yield f"❌ {words}: {plain(problem)}" if problem else f"✅ {words}"


def _one(ctx: Context, command: Command) -> Iterator[str]:
    yield f"<b>/{command.name}</b>: {plain(ctx.t(command.about))}"
    for line in command.usage:
        yield f"<code>/{plain(f'{command.name} {line}'.strip())}</code>"


COMMANDS = (
    Command("start", start, said("Begin")),
    Command("help", help_, said("What I can do"), usage=("", "save")),
)
