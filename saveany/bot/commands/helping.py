"""/start and /help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from saveany import __version__
from saveany.bot.context import Context
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, escape
from saveany.planning.available import source_problem
from saveany.planning.source_choice import is_enabled
from saveany.sources import sources
from saveany.store import WorkerInfo
from saveany.texts import gettext_noop

#: What each source saves. A source of another package is described by its title.
_DESCRIPTIONS = {
    "tgfiles": gettext_noop("files in Telegram messages"),
    "directlinks": gettext_noop("files at plain URLs"),
    "ytdlp": gettext_noop("videos from YouTube and a thousand other sites, with yt-dlp"),
    "parseditem": gettext_noop("pictures from X, Pixiv and hundreds of other sites, with gallery-dl"),
    "aria2": gettext_noop("torrents and magnet links, with aria2"),
    "tphpics": gettext_noop("pictures in telegra.ph articles"),
    "transfer": gettext_noop("files in another storage"),
}


def commands(table: Mapping[str, Command]) -> tuple[Command, ...]:
    """/start, and /help for the commands in `table`, which is read when a user asks."""
    return (
        Command("start", _start, gettext_noop("Get started")),
        Command("help", partial(_help, table), gettext_noop("What I can do"), usage=("", "save")),
    )


async def _start(ctx: Context, args: str) -> None:
    """Introduce the bot."""
    t = ctx.t
    await ctx.reply(
        t("Send me files, forward messages to me, or paste links, and I will save them for you.")
        + "\n\n"
        + t("/help lists what I can do.")
    )


async def _help(table: Mapping[str, Command], ctx: Context, args: str) -> None:
    """List all commands, or describe one."""
    name = args.removeprefix("/").lower()
    if not name:
        workers = await ctx.services.store.workers.living()
        await ctx.reply("\n".join(_overview(table, ctx, workers)))
        return
    command = table.get(name)
    if command is None:
        raise CommandError("There is no command /{name}. /help lists what I can do.", name=name)
    await ctx.reply("\n".join(_details(ctx, command)))


def _overview(table: Mapping[str, Command], ctx: Context, workers: Sequence[WorkerInfo]) -> Iterator[str]:
    yield f"SaveAny {__version__}"
    yield ""
    for command in table.values():
        if (ctx.is_admin or not command.admin) and _is_usable(ctx, command):
            yield f"/{command.name}: {escape(ctx.t(command.description))}"
    yield ""
    yield ctx.t("What I can save here:")
    yield from _sources(ctx, workers)
    yield ""
    yield ctx.t("Send /help and the name of a command to see how to use it.")


def _is_usable(ctx: Context, command: Command) -> bool:
    source = sources().get(command.source)
    return source is None or is_enabled(ctx.services.config, source)


def _sources(ctx: Context, workers: Sequence[WorkerInfo]) -> Iterator[str]:
    """What can be saved, and why the rest cannot."""
    for source in sources().values():
        if source.internal:
            continue
        description = escape(ctx.t(_DESCRIPTIONS.get(source.type, source.title)))
        problem = source_problem(ctx.services.config, source, workers)
        yield f"❌ {description}: {escape(ctx.t.text(problem))}" if problem else f"✅ {description}"


def _details(ctx: Context, command: Command) -> Iterator[str]:
    yield f"<b>/{command.name}</b>: {escape(ctx.t(command.description))}"
    for line in command.usage:
        yield f"<code>/{escape(f'{command.name} {line}'.strip())}</code>"
