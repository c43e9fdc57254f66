"""/watch, /unwatch and /lswatch: chats whose new files are saved automatically."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from saveany.bot.context import Context, rows
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, HtmlTranslator, escape
from saveany.errors import Retryable
from saveany.models import Rule
from saveany.planning import rules
from saveany.planning.filter_syntax import parse_filter
from saveany.planning.paths import folder
from saveany.service.archives import check_number
from saveany.service.live import ShownLive
from saveany.store.archives import Archive, Notify
from saveany.telegram import links
from saveany.telegram.chat_state import ChatState
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import Text, gettext_noop, loaded

_ARROW = re.compile(r"(?:^|\s)(?:->|→)\s*(?P<path>.*)$", re.DOTALL)
_WORD = re.compile(r'(?:[^\s"“”]|["“”][^"“”]*["“”])+|\S+')
_MAX_MESSAGE_ID = 2**31 - 1


@dataclass(slots=True)
class WatchArguments:
    """The arguments of /watch and /archive after the chat."""

    filter: dict[str, Any] = field(default_factory=dict)
    storage: str = ""
    folder: str = ""
    seen: int | None = None  # the message before the first one to save; None for the newest message
    notify: Notify = "each"
    switches: set[str] = field(default_factory=set)  # words such as "follow"
    options: dict[str, str] = field(default_factory=dict)  # as in copy=bytes


async def watch(ctx: Context, args: str) -> None:
    """Watch a chat."""
    if not args:
        await lswatch(ctx, "")
        return
    chat, _, rest = args.partition(" ")
    if rest.split()[:1] == ["live"]:
        await _record_live(ctx, chat, rest.strip().removeprefix("live"))
        return
    arguments = parse_arguments(ctx, rest.strip())
    state = await _chat_state(ctx, links.chat_of(chat))
    added = _new_archive(ctx, state, arguments)
    existing = await ctx.services.store.archives.of_user(ctx.user.id)
    others = [each for each in existing if each.id != added.id]
    await check_number(ctx.services.config, ctx.services.store, ctx.user.id, but=added.id)
    for n, each in enumerate(others, 1):
        if _is_same(each, added):
            raise CommandError("You already watch that: it is number {n} in /lswatch.", n=n)
    await ctx.services.store.archives.add(added)
    await ctx.reply("\n".join(_confirmation(ctx.t, added, state.top)))


async def _record_live(ctx: Context, chat: str, rest: str) -> None:
    """Record a chat when it goes live."""
    arguments = parse_arguments(ctx, rest.strip())
    if arguments.filter or arguments.seen is not None:
        raise CommandError("Write /watch CHAT live, or /watch CHAT live -> STORAGE:FOLDER.")
    shown = await ctx.services.live.watch(
        ctx.principal, chat, user_id=ctx.user.id, storage=arguments.storage, folder=arguments.folder
    )
    lines = [ctx.t("I record <b>{title}</b> whenever it is live.", title=shown.watch.title)]
    if shown.problem:
        lines.append(f"⚠️ {escape(ctx.t.text(shown.problem))}")
    await ctx.reply("\n".join(lines))


async def _chat_state(ctx: Context, chat: str) -> ChatState:
    try:
        return await ctx.services.accounts.history.chat_state(chat, ctx.user.accounts)
    except Retryable as error:
        raise CommandError("{reason}; try again later", reason=error.text) from error


async def unwatch(ctx: Context, args: str) -> None:
    """Stop watching: one chat by its number in the list, or all watches of a chat by its name."""
    if not args:
        await lswatch(ctx, "")
        return
    if args.split()[1:] == ["live"]:
        await _record_no_longer(ctx, args.split()[0])
        return
    watches = await ctx.services.store.archives.of_user(ctx.user.id)
    if args.isdecimal():
        found = watches[int(args) - 1 : int(args)] if int(args) else []
    else:
        name = links.chat_of(args).casefold()
        found = [each for each in watches if name in (each.name.casefold(), str(each.chat))]
    if not found:
        raise CommandError("You do not watch that chat. /lswatch lists the chats you watch.")
    for each in found:
        await ctx.services.store.archives.remove(each.id)
    await ctx.reply(escape(ctx.t.text(_ended(found[0]))))


async def _record_no_longer(ctx: Context, chat: str) -> None:
    name = links.chat_of(chat).casefold()
    for shown in await ctx.services.live.all(ctx.principal, ctx.user.id):
        if name in (shown.watch.name.casefold(), str(shown.watch.chat)):
            await ctx.services.live.remove(ctx.principal, shown.watch.id)
            await ctx.reply(ctx.t("I no longer record <b>{title}</b>.", title=shown.watch.title))
            return
    raise CommandError("I do not record that chat. /lswatch lists the chats you watch.")


async def lswatch(ctx: Context, args: str) -> None:
    """List the watched chats, with buttons that stop watching them."""
    text, keyboard = await _list(ctx)
    await ctx.reply(text, keyboard)


async def press_unwatch(ctx: Context, args: str) -> None:
    """Stop watching the chat with this id."""
    found = await ctx.services.store.archives.get(args)
    if found is not None and found.user_id == ctx.user.id:
        await ctx.services.store.archives.remove(found.id)
        await ctx.answer_callback(ctx.t.text(_ended(found)))
    await ctx.edit(*await _list(ctx))


def _ended(watch: Archive) -> Text:
    return Text("You no longer watch {title}.", {"title": watch.title})


async def _list(ctx: Context) -> tuple[str, Keyboard]:
    t = ctx.t
    watches = await ctx.services.store.archives.of_user(ctx.user.id)
    live = await ctx.services.live.all(ctx.principal, ctx.user.id)
    if not watches and not live:
        return t("You watch no chats yet. Send /watch @channel to save what is posted there."), ()
    parts = [f"{n}. " + "\n".join(_details(t, each)) for n, each in enumerate(watches, 1)]
    parts += [_live_line(t, each) for each in live]
    buttons = [Button(f"✖ {n}", f"unwatch:{each.id}") for n, each in enumerate(watches, 1)]
    return "\n".join(parts), rows(buttons, 5)


def _live_line(t: HtmlTranslator, shown: ShownLive) -> str:
    """A chat that is recorded when it goes live."""
    watch = shown.watch
    name = f"🔴 <b>{escape(watch.title)}</b> ({escape(watch.name)})"
    if shown.problem:
        return f"{name}\n⚠️ {escape(t.text(shown.problem))}"
    state = t("It is live, and I record it.") if shown.broadcast else t("I record it when it goes live.")
    return f"{name}\n{state}"


def _details(t: HtmlTranslator, watch: Archive) -> Iterator[str]:
    yield f"<b>{escape(watch.title)}</b> ({escape(watch.name)})"
    if watch.filter or watch.storage or watch.folder:
        yield f"<code>{escape(_conditions(watch))}</code>"
    if watch.notify == "digest":
        yield t("I notify you once an hour.")
    if watch.notify == "none":
        yield t("I do not notify you.")
    if problem := loaded(watch.problem):
        yield f"⚠️ {escape(t.text(problem))}"


def _conditions(watch: Archive) -> str:
    """The conditions and the folder, as they can be typed after /watch."""
    conditions = watch.filter
    rule = Rule(
        name=conditions.get("name", ""),
        text=conditions.get("text", ""),
        kinds=tuple(conditions.get("kinds", ())),
        min_size=conditions.get("min_size", 0),
        max_size=conditions.get("max_size"),
        storage=watch.storage,
        folder=watch.folder,
    )
    return rules.format_rule(rule).removesuffix(" -> :")


def _confirmation(t: HtmlTranslator, watch: Archive, newest: int) -> Iterator[str]:
    yield t("You now watch <b>{title}</b>.", title=watch.title)
    yield from list(_details(t, watch))[1:]
    if watch.seen < newest:
        yield t("I start with the existing messages, from message {n} on.", n=watch.seen + 1)


def _new_archive(ctx: Context, state: ChatState, arguments: WatchArguments) -> Archive:
    """The new watch. Its id depends on the update only, so an update that is handled twice adds one watch."""
    return Archive(
        id=hashlib.sha256(ctx.key.encode()).hexdigest()[:10],
        user_id=ctx.user.id,
        chat=state.id,
        title=state.title,
        username=state.username,
        account=state.account,
        storage=arguments.storage,
        folder=arguments.folder,
        filter=arguments.filter,
        seen=state.top if arguments.seen is None else arguments.seen,
        notify=arguments.notify,
        language=ctx.t.language,
        created_at=time.time_ns() // 1_000_000,
    )


def _is_same(one: Archive, other: Archive) -> bool:
    return (one.chat, one.filter, one.storage, one.folder) == (
        other.chat,
        other.filter,
        other.storage,
        other.folder,
    )


def parse_arguments(
    ctx: Context, text: str, switches: Collection[str] = (), options: Collection[str] = ()
) -> WatchArguments:
    """The arguments of /watch and /archive after the chat; those with these names are no conditions. Raises
    `CommandError`."""
    arguments = WatchArguments()
    if arrow := _ARROW.search(text):
        text = text[: arrow.start()]
        arguments.storage, arguments.folder = _parse_path(ctx, arrow["path"].strip())
    words = iter(_WORD.findall(text))
    conditions = []
    for word in words:
        if word == "from":
            arguments.seen = _parse_start(next(words, ""))
        elif word == "all":
            arguments.seen = 0
        elif word in switches:
            arguments.switches.add(word)
        elif (name := word.partition("=")[0]) in options and "=" in word:
            arguments.options[name] = word.partition("=")[2]
        elif word.startswith("notify="):
            arguments.notify = _parse_notify(word.removeprefix("notify="))
        else:
            conditions.append(word)
    arguments.filter = parse_filter(" ".join(conditions).removeprefix("msgre:"))
    return arguments


def _parse_path(ctx: Context, text: str) -> tuple[str, str]:
    storage, colon, path = text.partition(":")
    storage, path = storage.strip(), path.strip()
    if not colon:
        raise CommandError(
            "Write STORAGE:FOLDER after the arrow. First comes /watch CHAT, then conditions such as "
            "type=video size>10MB, then -> STORAGE:FOLDER. /help watch shows examples."
        )
    if storage:
        ctx.check_storage(storage)
    return storage, folder(path) or ("/" if path else "")


def _parse_start(word: str) -> int:
    if word == "all":
        return 0
    if not re.fullmatch(r"[0-9]{1,10}", word) or not 0 < int(word) <= _MAX_MESSAGE_ID:
        raise CommandError('Write a message number, or "all", after "from".')
    return int(word) - 1


def _parse_notify(word: str) -> Notify:
    if word not in get_args(Notify):
        raise CommandError("Write notify=each, notify=digest or notify=none.")
    return cast(Notify, word)


COMMANDS = (
    Command(
        "watch",
        watch,
        gettext_noop("Save what is posted in a chat"),
        usage=(
            "@channel",
            "@channel type=video size>10MB -> STORAGE:FOLDER",
            "@channel from 123",
            "@channel all notify=digest",
            "@channel live -> STORAGE:FOLDER",
        ),
        private=True,
    ),
    Command(
        "unwatch",
        unwatch,
        gettext_noop("Stop watching a chat"),
        usage=("NUMBER", "@channel", "@channel live"),
        private=True,
    ),
    Command("lswatch", lswatch, gettext_noop("Chats you watch"), private=True),
)
BUTTONS = {"unwatch": press_unwatch}
