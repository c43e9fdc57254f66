"""Cards: what was sent, and buttons for where it goes. All of a card is in Redis, so it outlives a restart.

    offer -> (storage) -> (folder) -> (conflict) -> task

A question that has one answer only is not asked. In silent mode none is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from saveany.bot import drafts
from saveany.bot.context import Context, folder_button, mark, marked, rows, storage_button
from saveany.bot.drafts import MessageContents, TaskDraft
from saveany.bot.render import clip
from saveany.bot.render import size as shown_size
from saveany.bot.texts import plain
from saveany.errors import SaveAnyError
from saveany.models import OnConflict
from saveany.planning.names import safe_name
from saveany.planning.paths import join
from saveany.service import TaskRequest
from saveany.store.bot import CARD_SECONDS
from saveany.store.records import decoder
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, Keyboard

_ANSWERS = tuple(OnConflict)
#: Folders that fit below a card.
_FOLDERS = 30
#: What is longer is cut where it is shown: characters.
_NAME, _PLACE = 120, 200


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be saved, and what is decided already."""

    token: str
    user_id: int
    drafts: tuple[TaskDraft, ...]
    head: str  # HTML that says what it is
    name: str = ""  # of the one file, if it is one
    album: str = ""
    can_send: bool = False  # it is not what the person has sent
    storage: str = ""
    folder: str | None = None
    on_conflict: str = ""
    send: bool = False  # to the person, not into a storage


_cards = decoder(Card)


async def offer(ctx: Context, messages: Sequence[ChatMessage]) -> None:
    """Answer what was sent with a card; save at once in silent mode."""
    found = drafts.look(ctx.services.config, await ctx.whole(messages))
    if found.refused:
        await ctx.say(_refusals(ctx, found))
    if found.drafts:
        await propose(ctx, found)


async def propose(ctx: Context, found: MessageContents) -> None:
    """A card for what was found; a task at once in silent mode."""
    card = _new(ctx, found)
    if not ctx.storages:
        await ctx.say(ctx.t("You may use no storage; see [[storages]] and [[users]] in config.toml."))
    elif ctx.prefs.silent:
        await _submit(ctx, card)
    else:
        await _keep(ctx, card)
        await ctx.say(*_where(ctx, card))


async def send(ctx: Context, found: MessageContents) -> None:
    """Send what was found to the person, into the talk with the bot."""
    await _submit(ctx, replace(_new(ctx, found), send=True))


def _new(ctx: Context, found: MessageContents) -> Card:
    return Card(
        token=hashlib.sha256(ctx.key.encode()).hexdigest()[:16],
        user_id=ctx.user.id,
        drafts=tuple(found.drafts),
        head=_head(ctx, found),
        name=found.names[0] if found.count == 1 and found.names else "",
        album=found.album,
        can_send=ctx.chat > 0 and not found.sent,
    )


# Buttons.


async def to_storage(ctx: Context, words: str) -> None:
    """A storage was chosen, by its mark. `-` leaves it to the user's rules and defaults, `@` is
    the talk with the bot."""
    if (card := await _card(ctx, words)) is None:
        return
    choice = words.partition(":")[2]
    if choice in ("-", "@"):
        await _submit(ctx, replace(card, send=choice == "@"))
        return
    card = replace(card, storage=marked(ctx.storages, choice))
    if len(_folders(ctx, card)) > 1:
        await _keep(ctx, card)
        await ctx.show(*_which_folder(ctx, card))
    else:
        await _check(ctx, replace(card, folder=_folders(ctx, card)[0]))


async def to_folder(ctx: Context, words: str) -> None:
    """A folder was chosen, by its mark."""
    if (card := await _card(ctx, words)) is not None:
        await _check(ctx, replace(card, folder=marked(_folders(ctx, card), words.partition(":")[2])))


async def back(ctx: Context, words: str) -> None:
    """Another storage, after all."""
    if (card := await _card(ctx, words)) is not None:
        await ctx.show(*_where(ctx, replace(card, storage="")))


async def settle(ctx: Context, words: str) -> None:
    """It was said what to do with a file of that name."""
    if (card := await _card(ctx, words)) is not None:
        await _submit(ctx, replace(card, on_conflict=marked(_ANSWERS, words.partition(":")[2])))


async def drop(ctx: Context, words: str) -> None:
    """Nothing is to be saved."""
    if (card := await _card(ctx, words)) is not None:
        await ctx.services.store.bot.drop_card(card.token)
        await ctx.show(card.head + "\n\n" + ctx.t("Not saved."))


PRESSES = {"to": to_storage, "in": to_folder, "back": back, "as": settle, "drop": drop}


async def _card(ctx: Context, words: str) -> Card | None:
    """The card of a button that was pressed, if it is there and the person's own."""
    token, memory = words.partition(":")[0], ctx.services.store.bot
    kept = await memory.card(token)
    cards = memory.readable("card", {token: kept}, lambda pair: _cards(pair[1])) if kept else []
    if not cards:
        days = CARD_SECONDS // (24 * 3600)
        await ctx.answer(
            ctx.t("This is done, or older than {days} days. Send it again.", days=days), alert=True
        )
        return None
    (card,) = cards
    if card.user_id != ctx.user.id:
        await ctx.answer(ctx.t("This is not for you."), alert=True)
        return None
    return card


async def _keep(ctx: Context, card: Card) -> None:
    await ctx.services.store.bot.keep_card(card.token, msgspec.json.encode(card))


async def _check(ctx: Context, card: Card) -> None:
    """Ask what to do if there is a file of that name, if the user wants to be asked; then save."""
    if ctx.prefs.on_conflict == "ask" and card.name and await _is_taken(ctx, card):
        await _keep(ctx, card)
        await ctx.show(*_which_name(ctx, card))
    else:
        await _submit(ctx, card)


async def _is_taken(ctx: Context, card: Card) -> bool:
    path = join(card.folder or "", safe_name(card.name))
    try:
        answer = await ctx.services.store.queries.ask(card.storage, "stat", {"path": path})
    except SaveAnyError:
        return False  # nobody can tell now; then the file gets another name
    return bool(answer.result)


async def _submit(ctx: Context, card: Card) -> None:
    """Make the tasks, each once, and show how they go on."""
    requests = [_request(card, draft) for draft in card.drafts]
    accepted = await ctx.services.tasks.submit_all(ctx.principal, requests, key=f"card:{card.token}")
    # Nothing can be lost any more, however long Telegram lets us wait to say so.
    for n, task in enumerate(accepted):
        if n == 0 and isinstance(ctx.letter, CallbackQuery):
            message = ctx.letter.message
        else:
            waiting = card.head + "\n\n" + ctx.t("Waiting for a worker …"), _cancel(ctx, task.id)
            message = await ctx.say(*waiting) or await ctx.say(*waiting)  # it must be known to be edited
        await ctx.follow(message, task.id, card.album or card.name)
    await ctx.services.store.bot.drop_card(card.token)


def _request(card: Card, draft: TaskDraft) -> TaskRequest:
    return TaskRequest(
        links=draft.links,
        type=draft.type,
        storage=card.storage,
        folder="/" if card.folder == "" else card.folder or "",
        filename=draft.filename,
        to_private_chat=card.send,
        on_conflict=OnConflict(card.on_conflict) if card.on_conflict else None,
        params=draft.params,
    )


# What is shown.


def _head(ctx: Context, found: MessageContents) -> str:
    t = ctx.t
    if found.count == 1:
        name = f"<b>{plain(clip(found.names[0], _NAME))}</b>"
        return f"{name}\n{shown_size(found.size)}" if found.size else name
    lines = [t.n("<b>{n} file</b>", "<b>{n} files</b>", found.count)]
    if found.size:
        lines[0] += f", {shown_size(found.size)}"
    lines += [f"· {plain(clip(name, _NAME))}" for name in found.names]
    if found.count > len(found.names):
        lines.append(t("… and {n} more", n=found.count - len(found.names)))
    return "\n".join(lines)


def _where(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, key = ctx.t, card.token
    by_rules = bool(ctx.prefs.rules and ctx.prefs.rules_on)
    choices = [storage_button(name, f"to:{key}:{mark(name)}") for name in ctx.storages]
    first = [Button(t("By my rules"), f"to:{key}:-")] if by_rules else []
    send = [Button(t("Send it to me"), f"to:{key}:@")] if card.can_send else []
    last = [Button(t("Do not save"), f"drop:{key}")]
    text = card.head + "\n\n" + t("Where shall it go?")
    return text, (*rows(first), *rows(choices), *rows(send), *rows(last))


def _which_folder(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, key = ctx.t, card.token
    folders = dict.fromkeys([*_folders(ctx, card)[: _FOLDERS - 1], ""])
    choices = [folder_button(name, f"in:{key}:{mark(name)}") for name in folders]
    last = ((Button(t("« Back"), f"back:{key}"), Button(t("Do not save"), f"drop:{key}")),)
    return card.head + "\n\n" + t("Into which folder of {storage}?", storage=card.storage), (
        *rows(choices, 2),
        *last,
    )


def _which_name(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, key = ctx.t, card.token
    labels = {
        OnConflict.RENAME: t("Keep both"),
        OnConflict.OVERWRITE: t("Replace it"),
        OnConflict.SKIP: t("Do not save"),
    }
    place = clip(f"{card.storage}:/{join(card.folder or '', card.name)}", _PLACE)
    text = card.head + "\n\n" + t("There is a file {place} already.", place=place)
    return text, tuple((Button(labels[each], f"as:{key}:{mark(each)}"),) for each in _ANSWERS)


def _folders(ctx: Context, card: Card) -> list[str]:
    """Folders to choose from: the default one, one for the album, the user's shortcuts, the root."""
    prefs = ctx.prefs
    usual = [prefs.folder] if prefs.folder and card.storage in (prefs.storage, "") else []
    shortcuts = [each.folder for each in prefs.shortcuts if each.storage == card.storage]
    parents = [*usual, *shortcuts]
    albums = [join(parent, card.album) for parent in (*usual, "")][:1] if card.album else []
    return list(dict.fromkeys([*albums, *parents, ""]))


def _cancel(ctx: Context, task_id: str) -> Keyboard:
    return ((Button(ctx.t("Cancel"), f"cancel:{task_id}"),),)


def _refusals(ctx: Context, found: MessageContents) -> str:
    lines = [
        f"<code>{plain(link[:100])}</code>: {plain(reason)}"
        for link, reason in list(found.refused.items())[: drafts.SHOWN]
    ]
    more = len(found.refused) - len(lines)
    return "\n".join([*lines, ctx.t("… and {n} more", n=more)] if more > 0 else lines)
