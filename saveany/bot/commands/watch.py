"""/watch, /unwatch and /lswatch: chats whose new files are saved by themselves."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from saveany.bot.context import Context, rows
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, Translator, plain, said
from saveany.errors import Retryable
from saveany.models import Rule
from saveany.planning import rules
from saveany.planning.paths import folder
from saveany.planning.words import filter_of
from saveany.store.watched_chats import Notify, WatchedChat
from saveany.telegram import links
from saveany.telegram.history import ChatState
from saveany.telegram.update_types import Button, Keyboard

#: A user may watch no more chats.
MAX_WATCHES = 100

_FORM = "say /watch CHAT, then conditions such as type=video size>10MB, then -> STORAGE:FOLDER; /help watch"
_ARROW = re.compile(r"(?:^|\s)(?:->|→)\s*(?P<place>.*)$", re.DOTALL)
_TOKEN = re.compile(r'(?:[^\s"“”]|["“”][^"“”]*["“”])+|\S+')
_LARGEST_MESSAGE = 2**31 - 1


@dataclass(slots=True)
class _WatchArguments:
    """What stands behind /watch and the chat."""

    filter: dict[str, Any] = field(default_factory=dict)
    storage: str = ""
    folder: str = ""
    seen: int | None = None  # None: up to now
    notify: Notify = "each"


async def watch(ctx: Context, words: str) -> None:
    """Watch a chat."""
    if not words:
        await lswatch(ctx, "")
        return
    chat, _, rest = words.partition(" ")
    asked = _asked(ctx, rest.strip())
    now = await _look(ctx, links.chat_of(chat))
    made = _made(ctx, now, asked)
    others = [
        each for each in await ctx.services.store.watched_chats.of_user(ctx.user.id) if each.id != made.id
    ]
    if len(others) >= MAX_WATCHES:
        raise CommandError(said("you watch {n} chats already; /unwatch ends one"), n=MAX_WATCHES)
    for n, each in enumerate(others, 1):
        if _same(each, made):
            raise CommandError(said("you watch that already: it is number {n} of /lswatch"), n=n)
    await ctx.services.store.watched_chats.add(made)
    await ctx.say("\n".join(_begun(ctx.t, made, now.top)))


async def _look(ctx: Context, chat: str) -> ChatState:
    try:
        return await ctx.services.accounts.history.chat_state(chat, ctx.user.accounts)
    except Retryable as error:
        raise CommandError(said("{reason}; try it again later"), reason=error.message) from error


async def unwatch(ctx: Context, words: str) -> None:
    """End one watch, by its number, or all of a chat."""
    if not words:
        await lswatch(ctx, "")
        return
    mine = await ctx.services.store.watched_chats.of_user(ctx.user.id)
    if words.isdecimal():
        found = mine[int(words) - 1 : int(words)] if int(words) else []
    else:
        name = links.chat_of(words).casefold()
        found = [each for each in mine if name in (each.name.casefold(), str(each.chat))]
    if not found:
        raise CommandError(said("you do not watch that; /lswatch lists what you watch"))
    for each in found:
        await ctx.services.store.watched_chats.remove(each.id)
    await ctx.say(ctx.t("{title} is not watched any more.", title=found[0].title))


async def lswatch(ctx: Context, words: str) -> None:
    """What is watched, and buttons to end it."""
    text, keyboard = await _list(ctx)
    await ctx.say(text, keyboard)


async def press_unwatch(ctx: Context, words: str) -> None:
    """A button of the list."""
    found = await ctx.services.store.watched_chats.get(words)
    if found is not None and found.user_id == ctx.user.id:
        await ctx.services.store.watched_chats.remove(found.id)
        await ctx.answer(ctx.t("{title} is not watched any more.", title=found.title))
    await ctx.show(*await _list(ctx))


async def _list(ctx: Context) -> tuple[str, Keyboard]:
    t = ctx.t
    mine = await ctx.services.store.watched_chats.of_user(ctx.user.id)
    if not mine:
        return t("You watch no chat yet: /watch @channel saves what is posted there from now on."), ()
    parts = [f"{n}. " + "\n".join(_shown(t, each)) for n, each in enumerate(mine, 1)]
    buttons = [Button(f"✖ {n}", f"unwatch:{each.id}") for n, each in enumerate(mine, 1)]
    return "\n".join(parts), rows(buttons, 5)


def _shown(t: Translator, watch: WatchedChat) -> Iterator[str]:
    yield f"<b>{plain(watch.title)}</b> ({plain(watch.name)})"
    if watch.filter or watch.storage or watch.folder:
        yield f"<code>{plain(_line(watch))}</code>"
    if watch.notify == "digest":
        yield t("I tell you once an hour what was saved.")
    if watch.notify == "none":
        yield t("I do not tell you what was saved.")
    if watch.problem:
        yield f"⚠️ {plain(watch.problem)}"


def _line(watch: WatchedChat) -> str:
    """Conditions and place, as they may be typed."""
    wanted = watch.filter
    rule = Rule(
        name=wanted.get("name", ""),
        kinds=tuple(wanted.get("kinds", ())),
        min_size=wanted.get("min_size", 0),
        max_size=wanted.get("max_size"),
        storage=watch.storage,
        folder=watch.folder,
    )
    return rules.shown(rule).removesuffix(" -> :")


def _begun(t: Translator, watch: WatchedChat, top: int) -> Iterator[str]:
    yield t("I watch <b>{title}</b> now.", title=watch.title)
    yield from list(_shown(t, watch))[1:]
    if watch.seen < top:
        yield t("I begin with what is there already, from message {n} on.", n=watch.seen + 1)


def _made(ctx: Context, now: ChatState, asked: _WatchArguments) -> WatchedChat:
    """The same for the same letter, so that one that is handled twice makes one watch."""
    return WatchedChat(
        id=hashlib.sha256(ctx.key.encode()).hexdigest()[:10],
        user_id=ctx.user.id,
        chat=now.id,
        title=now.title,
        username=now.username,
        account=now.account,
        storage=asked.storage,
        folder=asked.folder,
        filter=asked.filter,
        seen=now.top if asked.seen is None else asked.seen,
        notify=asked.notify,
        language=ctx.t.language,
        created_at=time.time_ns() // 1_000_000,
    )


def _same(one: WatchedChat, other: WatchedChat) -> bool:
    return (one.chat, one.filter, one.storage, one.folder) == (
        other.chat,
        other.filter,
        other.storage,
        other.folder,
    )


def _asked(ctx: Context, words: str) -> _WatchArguments:
    asked = _WatchArguments()
    if arrow := _ARROW.search(words):
        words = words[: arrow.start()]
        asked.storage, asked.folder = _place(ctx, arrow["place"].strip())
    tokens = iter(_TOKEN.findall(words))
    conditions = []
    for token in tokens:
        if token == "from":  # noqa: S105 - a word, not a secret
            asked.seen = _before(next(tokens, ""))
        elif token == "all":  # noqa: S105
            asked.seen = 0
        elif token.startswith("notify="):
            asked.notify = _notify(token.removeprefix("notify="))
        else:
            conditions.append(token)
    asked.filter = filter_of(" ".join(conditions).removeprefix("msgre:"))
    return asked


def _place(ctx: Context, text: str) -> tuple[str, str]:
    storage, colon, path = text.partition(":")
    storage, path = storage.strip(), path.strip()
    if not colon:
        raise CommandError(said("behind the arrow stands STORAGE:FOLDER; {form}"), form=_FORM)
    if storage:
        ctx.check_storage(storage)
    return storage, folder(path) or ("/" if path else "")


def _before(word: str) -> int:
    if word == "all":
        return 0
    if not re.fullmatch(r"[0-9]{1,10}", word) or not 0 < int(word) <= _LARGEST_MESSAGE:
        raise CommandError(said("behind from stands the number of a message, or all"))
    return int(word) - 1


def _notify(word: str) -> Notify:
    if word not in get_args(Notify):
        raise CommandError(said("say notify=each, notify=digest or notify=none"))
    return cast(Notify, word)


COMMANDS = (
    Command(
        "watch",
        watch,
        said("Save what is posted in a chat"),
        usage=(
            "@channel",
            "@channel type=video size>10MB -> STORAGE:FOLDER",
            "@channel from 123",
            "@channel all notify=digest",
        ),
        private=True,
    ),
    Command("unwatch", unwatch, said("Watch a chat no more"), usage=("NUMBER", "@channel"), private=True),
    Command("lswatch", lswatch, said("What is watched"), private=True),
)
PRESSES = {"unwatch": press_unwatch}
