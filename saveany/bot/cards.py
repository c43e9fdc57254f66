"""Cards: what was sent, and buttons for where it goes. All of a card is in Redis, so it outlives a restart.

    offer -> (storage) -> (folder) -> (conflict) -> task

A question that has one answer only is not asked. In silent mode none is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from saveany.bot import orders
from saveany.bot.orders import Found, Order
from saveany.bot.show import clip
from saveany.bot.show import size as shown_size
from saveany.bot.texts import plain
from saveany.bot.visit import Visit, folder_button, mark, marked, rows, storage_button
from saveany.errors import SaveAnyError
from saveany.models import OnConflict
from saveany.planning.intake import Wish, intake
from saveany.planning.names import safe_name
from saveany.planning.paths import join
from saveany.store.bot import CARD_SECONDS
from saveany.store.records import decoder
from saveany.telegram.letters import Button, Keyboard, Message, Press

_ANSWERS = tuple(OnConflict)
#: Folders that fit below a card.
_FOLDERS = 30
#: What is longer is cut where it is shown: characters.
_NAME, _PLACE = 120, 200


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be saved, and what is decided already."""

    token: str
    user_id: int
    orders: tuple[Order, ...]
    head: str  # HTML that says what it is
    name: str = ""  # of the one file, if it is one
    album: str = ""
    can_send: bool = False  # it is not what the person has sent
    storage: str = ""
    folder: str | None = None
    on_conflict: str = ""
    send: bool = False  # to the person, not into a storage


_cards = decoder(Card)


async def offer(visit: Visit, messages: Sequence[Message]) -> None:
    """Answer what was sent with a card; save at once in silent mode."""
    found = orders.look(visit.services.config, await visit.whole(messages))
    if found.refused:
        await visit.say(_refusals(visit, found))
    if found.orders:
        await propose(visit, found)


async def propose(visit: Visit, found: Found) -> None:
    """A card for what was found; a task at once in silent mode."""
    card = _new(visit, found)
    if not visit.storages:
        await visit.say(visit.t("You may use no storage; see [[storages]] and [[users]] in config.toml."))
    elif visit.prefs.silent:
        await _submit(visit, card)
    else:
        await _keep(visit, card)
        await visit.say(*_where(visit, card))


async def send(visit: Visit, found: Found) -> None:
    """Send what was found to the person, into the talk with the bot."""
    await _submit(visit, replace(_new(visit, found), send=True))


def _new(visit: Visit, found: Found) -> Card:
    return Card(
        token=hashlib.sha256(visit.key.encode()).hexdigest()[:16],
        user_id=visit.user.id,
        orders=tuple(found.orders),
        head=_head(visit, found),
        name=found.names[0] if found.count == 1 and found.names else "",
        album=found.album,
        can_send=visit.chat > 0 and not found.sent,
    )


# Buttons.


async def to_storage(visit: Visit, words: str) -> None:
    """A storage was chosen, by its mark. `-` leaves it to the user's rules and defaults, `@` is
    the talk with the bot."""
    if (card := await _card(visit, words)) is None:
        return
    choice = words.partition(":")[2]
    if choice in ("-", "@"):
        await _submit(visit, replace(card, send=choice == "@"))
        return
    card = replace(card, storage=marked(visit.storages, choice))
    if len(_folders(visit, card)) > 1:
        await _keep(visit, card)
        await visit.show(*_which_folder(visit, card))
    else:
        await _check(visit, replace(card, folder=_folders(visit, card)[0]))


async def to_folder(visit: Visit, words: str) -> None:
    """A folder was chosen, by its mark."""
    if (card := await _card(visit, words)) is not None:
        await _check(visit, replace(card, folder=marked(_folders(visit, card), words.partition(":")[2])))


async def back(visit: Visit, words: str) -> None:
    """Another storage, after all."""
    if (card := await _card(visit, words)) is not None:
        await visit.show(*_where(visit, replace(card, storage="")))


async def settle(visit: Visit, words: str) -> None:
    """It was said what to do with a file of that name."""
    if (card := await _card(visit, words)) is not None:
        await _submit(visit, replace(card, on_conflict=marked(_ANSWERS, words.partition(":")[2])))


async def drop(visit: Visit, words: str) -> None:
    """Nothing is to be saved."""
    if (card := await _card(visit, words)) is not None:
        await visit.services.store.bot.drop_card(card.token)
        await visit.show(card.head + "\n\n" + visit.t("Not saved."))


PRESSES = {"to": to_storage, "in": to_folder, "back": back, "as": settle, "drop": drop}


async def _card(visit: Visit, words: str) -> Card | None:
    """The card of a button that was pressed, if it is there and the person's own."""
    token, memory = words.partition(":")[0], visit.services.store.bot
    kept = await memory.card(token)
    cards = memory.readable("card", {token: kept}, lambda pair: _cards(pair[1])) if kept else []
    if not cards:
        days = CARD_SECONDS // (24 * 3600)
        await visit.answer(
            visit.t("This is done, or older than {days} days. Send it again.", days=days), alert=True
        )
        return None
    (card,) = cards
    if card.user_id != visit.user.id:
        await visit.answer(visit.t("This is not for you."), alert=True)
        return None
    return card


async def _keep(visit: Visit, card: Card) -> None:
    await visit.services.store.bot.keep_card(card.token, msgspec.json.encode(card))


async def _check(visit: Visit, card: Card) -> None:
    """Ask what to do if there is a file of that name, if the user wants to be asked; then save."""
    if visit.prefs.on_conflict == "ask" and card.name and await _is_taken(visit, card):
        await _keep(visit, card)
        await visit.show(*_which_name(visit, card))
    else:
        await _submit(visit, card)


async def _is_taken(visit: Visit, card: Card) -> bool:
    path = join(card.folder or "", safe_name(card.name))
    try:
        answer = await visit.services.store.asks.ask(card.storage, "stat", {"path": path})
    except SaveAnyError:
        return False  # nobody can tell now; then the file gets another name
    return bool(answer.result)


async def _submit(visit: Visit, card: Card) -> None:
    """Make the tasks, each once, and show how they go on."""
    config, queue = visit.services.config, visit.services.queue
    specs = [intake(config, _wish(visit, card, order), visit.prefs) for order in card.orders]
    accepted = [await queue.submit(spec, key=f"card:{card.token}:{n}") for n, spec in enumerate(specs)]
    # Nothing can be lost any more, however long Telegram lets us wait to say so.
    for n, task in enumerate(accepted):
        if n == 0 and isinstance(visit.letter, Press):
            message = visit.letter.message
        else:
            waiting = card.head + "\n\n" + visit.t("Waiting for a worker …"), _cancel(visit, task.id)
            message = await visit.say(*waiting) or await visit.say(*waiting)  # it must be known to be edited
        await visit.follow(message, task.id, card.album or card.name)
    await visit.services.store.bot.drop_card(card.token)


def _wish(visit: Visit, card: Card, order: Order) -> Wish:
    return Wish(
        links=order.links,
        type=order.type,
        user_id=visit.user.id,
        storage=card.storage,
        folder="/" if card.folder == "" else card.folder or "",
        filename=order.filename,
        talk=min(0, visit.chat),
        send=card.send,
        on_conflict=OnConflict(card.on_conflict) if card.on_conflict else None,
        params=order.params,
    )


# What is shown.


def _head(visit: Visit, found: Found) -> str:
    t = visit.t
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


def _where(visit: Visit, card: Card) -> tuple[str, Keyboard]:
    t, key = visit.t, card.token
    by_rules = bool(visit.prefs.rules and visit.prefs.rules_on)
    choices = [storage_button(name, f"to:{key}:{mark(name)}") for name in visit.storages]
    first = [Button(t("By my rules"), f"to:{key}:-")] if by_rules else []
    send = [Button(t("Send it to me"), f"to:{key}:@")] if card.can_send else []
    last = [Button(t("Do not save"), f"drop:{key}")]
    text = card.head + "\n\n" + t("Where shall it go?")
    return text, (*rows(first), *rows(choices), *rows(send), *rows(last))


def _which_folder(visit: Visit, card: Card) -> tuple[str, Keyboard]:
    t, key = visit.t, card.token
    folders = dict.fromkeys([*_folders(visit, card)[: _FOLDERS - 1], ""])
    choices = [folder_button(name, f"in:{key}:{mark(name)}") for name in folders]
    last = ((Button(t("« Back"), f"back:{key}"), Button(t("Do not save"), f"drop:{key}")),)
    return card.head + "\n\n" + t("Into which folder of {storage}?", storage=card.storage), (
        *rows(choices, 2),
        *last,
    )


def _which_name(visit: Visit, card: Card) -> tuple[str, Keyboard]:
    t, key = visit.t, card.token
    labels = {
        OnConflict.RENAME: t("Keep both"),
        OnConflict.OVERWRITE: t("Replace it"),
        OnConflict.SKIP: t("Do not save"),
    }
    place = clip(f"{card.storage}:/{join(card.folder or '', card.name)}", _PLACE)
    text = card.head + "\n\n" + t("There is a file {place} already.", place=place)
    return text, tuple((Button(labels[each], f"as:{key}:{mark(each)}"),) for each in _ANSWERS)


def _folders(visit: Visit, card: Card) -> list[str]:
    """Folders to choose from: the default one, one for the album, the user's shortcuts, the root."""
    prefs = visit.prefs
    usual = [prefs.folder] if prefs.folder and card.storage in (prefs.storage, "") else []
    shortcuts = [each.folder for each in prefs.shortcuts if each.storage == card.storage]
    parents = [*usual, *shortcuts]
    albums = [join(parent, card.album) for parent in (*usual, "")][:1] if card.album else []
    return list(dict.fromkeys([*albums, *parents, ""]))


def _cancel(visit: Visit, task_id: str) -> Keyboard:
    return ((Button(visit.t("Cancel"), f"cancel:{task_id}"),),)


def _refusals(visit: Visit, found: Found) -> str:
    lines = [
        f"<code>{plain(link[:100])}</code>: {plain(reason)}"
        for link, reason in list(found.refused.items())[: orders.SHOWN]
    ]
    more = len(found.refused) - len(lines)
    return "\n".join([*lines, visit.t("… and {n} more", n=more)] if more > 0 else lines)
