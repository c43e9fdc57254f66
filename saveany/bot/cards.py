"""Cards: messages that show what a user sent, with buttons that choose where to save it.

    card -> (storage) -> (folder) -> (conflict policy) -> task

A step with only one choice is skipped. In silent mode, files are saved without a card. The state of a card
is in Redis, so its buttons work after a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from saveany.bot import drafts, sharing
from saveany.bot.context import Context, choice_id, find_choice, folder_button, rows, storage_button
from saveany.bot.drafts import MessageContents, TaskDraft
from saveany.bot.render import clip, location
from saveany.bot.render import size as shown_size
from saveany.bot.texts import escape
from saveany.errors import SaveAnyError
from saveany.models import OnConflict
from saveany.planning.names import safe_name
from saveany.planning.paths import join
from saveany.service import TaskRequest
from saveany.store.bot import CARD_SECONDS
from saveany.store.records import decoder
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, Keyboard

_POLICIES = tuple(OnConflict)
#: Maximum number of folder buttons.
_MAX_FOLDERS = 30
#: Maximum lengths of a name, a path and a link on a card, in characters.
_MAX_NAME, _MAX_PATH, _MAX_LINK = 120, 200, 100


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """The files and links to save, and what the user has chosen so far."""

    token: str
    user_id: int
    drafts: tuple[TaskDraft, ...]
    head: str  # describes the files and links, as HTML
    name: str = ""  # of the file, if there is only one
    album: str = ""
    can_send: bool = False  # offers to send the files to the user
    can_link: bool = False  # offers links to the files, which are not saved then
    storage: str = ""
    folder: str | None = None
    on_conflict: str = ""
    send: bool = False  # send the files to the user instead of saving them in a storage


_decode = decoder(Card)


async def handle_messages(ctx: Context, messages: Sequence[ChatMessage]) -> None:
    """Show a card for the files and links in messages; in silent mode, save them."""
    contents = drafts.read_messages(ctx.services.config, await ctx.with_albums(messages))
    if contents.refused:
        await ctx.reply(_refusals(ctx, contents))
    if contents.drafts:
        await show_card(ctx, contents)


async def show_card(ctx: Context, contents: MessageContents) -> None:
    """Show a card; in silent mode, save the contents."""
    card = _new_card(ctx, contents)
    if not ctx.storages and card.can_link:
        await _save(ctx, card)
        if await sharing.may_link(ctx, f"share:{card.token}"):
            await _link(ctx, card, ctx.reply)
    elif not ctx.storages:
        await ctx.reply(
            ctx.t("You have no storage. Ask the operator to check [[storages]] and [[users]] in config.toml.")
        )
    elif ctx.preferences.silent:
        await _submit(ctx, card)
    else:
        await _save(ctx, card)
        await ctx.reply(*_ask_storage(ctx, card))


async def send_to_user(ctx: Context, contents: MessageContents) -> None:
    """Send the contents to the user, in the chat with the bot."""
    await _submit(ctx, replace(_new_card(ctx, contents), send=True))


def _new_card(ctx: Context, contents: MessageContents) -> Card:
    return Card(
        token=hashlib.sha256(ctx.key.encode()).hexdigest()[:16],
        user_id=ctx.user.id,
        drafts=tuple(contents.drafts),
        head=_head(ctx, contents),
        name=contents.names[0] if contents.count == 1 and contents.names else "",
        album=contents.album,
        can_send=ctx.chat > 0 and not contents.has_files,
        can_link=contents.can_link,
    )


# Buttons. Their argument is `TOKEN:CHOICE`.


async def choose_storage(ctx: Context, args: str) -> None:
    """Use the storage with this id; `-` leaves the choice to the user's rules and defaults, and `@` sends the
    files to the user."""
    if (card := await _load(ctx, args)) is None:
        return
    choice = args.partition(":")[2]
    if choice in ("-", "@"):
        await _submit(ctx, replace(card, send=choice == "@"))
        return
    card = replace(card, storage=find_choice(ctx.storages, choice))
    if len(_folders(ctx, card)) > 1:
        await _save(ctx, card)
        await ctx.edit(*_ask_folder(ctx, card))
    else:
        await _check_name(ctx, replace(card, folder=_folders(ctx, card)[0]))


async def choose_folder(ctx: Context, args: str) -> None:
    """Use the folder with this id."""
    if (card := await _load(ctx, args)) is not None:
        folder = find_choice(_folders(ctx, card), args.partition(":")[2])
        await _check_name(ctx, replace(card, folder=folder))


async def back_to_storages(ctx: Context, args: str) -> None:
    """Ask for the storage again."""
    if (card := await _load(ctx, args)) is not None:
        await ctx.edit(*_ask_storage(ctx, replace(card, storage="")))


async def choose_policy(ctx: Context, args: str) -> None:
    """Save the file, with this policy for the name that is taken."""
    if (card := await _load(ctx, args)) is not None:
        policy = find_choice(_POLICIES, args.partition(":")[2])
        await _submit(ctx, replace(card, on_conflict=policy))


async def share(ctx: Context, args: str, show: sharing.Show) -> None:
    """Show links to the files, which are not saved."""
    if (card := await _load(ctx, args)) is not None:
        await _link(ctx, card, show)


async def _link(ctx: Context, card: Card, show: sharing.Show) -> None:
    urls = [link for draft in card.drafts for link in draft.links]
    await sharing.link_messages(ctx, urls, card.drafts[0].filename, show)


async def discard(ctx: Context, args: str) -> None:
    """Save nothing."""
    if (card := await _load(ctx, args)) is not None:
        await ctx.services.store.bot.drop_card(card.token)
        await ctx.edit(card.head + "\n\n" + ctx.t("Not saved."))


BUTTONS = {
    "to": choose_storage,
    "in": choose_folder,
    "back": back_to_storages,
    "as": choose_policy,
    "drop": discard,
}


async def _load(ctx: Context, args: str) -> Card | None:
    """The card of a button that was pressed; None, with an alert, if it has expired or is another user's."""
    token, memory = args.partition(":")[0], ctx.services.store.bot
    stored = await memory.card(token)
    cards = memory.readable("card", {token: stored}, lambda pair: _decode(pair[1])) if stored else []
    if not cards:
        days = CARD_SECONDS // (24 * 3600)
        text = ctx.t("This was already handled, or is more than {days} days old. Send it again.", days=days)
        await ctx.answer_callback(text, alert=True)
        return None
    (card,) = cards
    if card.user_id != ctx.user.id:
        await ctx.answer_callback(ctx.t("This button is for someone else."), alert=True)
        return None
    return card


async def _save(ctx: Context, card: Card) -> None:
    await ctx.services.store.bot.keep_card(card.token, msgspec.json.encode(card))


async def _check_name(ctx: Context, card: Card) -> None:
    """Submit the card, but first ask what to do if the name is taken and the user wants to be asked."""
    if ctx.preferences.on_conflict == "ask" and card.name and await _is_taken(ctx, card):
        await _save(ctx, card)
        await ctx.edit(*_ask_policy(ctx, card))
    else:
        await _submit(ctx, card)


async def _is_taken(ctx: Context, card: Card) -> bool:
    path = join(card.folder or "", safe_name(card.name))
    try:
        result = await ctx.services.store.queries.send(card.storage, "stat", {"path": path})
    except SaveAnyError:
        return False  # the storage cannot be asked now; if the name is taken, the file is renamed
    return bool(result.result)


async def _submit(ctx: Context, card: Card) -> None:
    """Submit the tasks of a card, each once however often this is called, and show their progress."""
    requests = [_request(card, draft) for draft in card.drafts]
    accepted = await ctx.services.tasks.submit_all(ctx.principal, requests, key=f"card:{card.token}")
    # The tasks are stored. Showing them may take long, because Telegram may ask to wait.
    for n, task in enumerate(accepted):
        if n == 0 and isinstance(ctx.update, CallbackQuery):
            message = ctx.update.message
        else:
            waiting = card.head + "\n\n" + ctx.t("Waiting for a worker …"), _cancel_button(ctx, task.id)
            # An id of 0 means that a process which has died sent the message. Its id is needed for editing.
            message = await ctx.reply(*waiting) or await ctx.reply(*waiting)
        await ctx.show_progress(message, task.id, card.album or card.name)
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


# Texts and keyboards.


def _head(ctx: Context, contents: MessageContents) -> str:
    t = ctx.t
    if contents.count == 1:
        name = f"<b>{escape(clip(contents.names[0], _MAX_NAME))}</b>"
        return f"{name}\n{shown_size(contents.size)}" if contents.size else name
    lines = [t.plural("<b>{n} file</b>", "<b>{n} files</b>", contents.count)]
    if contents.size:
        lines[0] += f", {shown_size(contents.size)}"
    lines += [f"· {escape(clip(name, _MAX_NAME))}" for name in contents.names]
    if contents.count > len(contents.names):
        lines.append(t("… and {n} more", n=contents.count - len(contents.names)))
    return "\n".join(lines)


def _ask_storage(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, token = ctx.t, card.token
    has_rules = bool(ctx.preferences.rules and ctx.preferences.rules_on)
    storages = [storage_button(name, f"to:{token}:{choice_id(name)}") for name in ctx.storages]
    by_rules = [Button(t("By my rules"), f"to:{token}:-")] if has_rules else []
    send = [Button(t("Send it to me"), f"to:{token}:@")] if card.can_send else []
    link = [Button(t("Link"), f"share:{token}")] if card.can_link else []
    cancel = [Button(t("Do not save"), f"drop:{token}")]
    text = card.head + "\n\n" + t("Where should I save this?")
    return text, (*rows(by_rules), *rows(storages), *rows(send + link), *rows(cancel))


def _ask_folder(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, token = ctx.t, card.token
    folders = dict.fromkeys([*_folders(ctx, card)[: _MAX_FOLDERS - 1], ""])
    buttons = [folder_button(path, f"in:{token}:{choice_id(path)}") for path in folders]
    last = (Button(t("« Back"), f"back:{token}"), Button(t("Do not save"), f"drop:{token}"))
    text = card.head + "\n\n" + t("Which folder of {storage}?", storage=card.storage)
    return text, (*rows(buttons, 2), last)


def _ask_policy(ctx: Context, card: Card) -> tuple[str, Keyboard]:
    t, token = ctx.t, card.token
    labels = {
        OnConflict.RENAME: t("Keep both"),
        OnConflict.OVERWRITE: t("Replace it"),
        OnConflict.SKIP: t("Do not save"),
    }
    path = clip(location(card.storage, join(card.folder or "", card.name)), _MAX_PATH)
    text = card.head + "\n\n" + t("{path} already exists.", path=path)
    return text, tuple((Button(labels[policy], f"as:{token}:{choice_id(policy)}"),) for policy in _POLICIES)


def _folders(ctx: Context, card: Card) -> list[str]:
    """The folders to choose from: one for the album, the default folder, the user's shortcuts and the
    root."""
    preferences = ctx.preferences
    is_default = preferences.folder and card.storage in (preferences.storage, "")
    default = [preferences.folder] if is_default else []
    shortcuts = [each.folder for each in preferences.shortcuts if each.storage == card.storage]
    albums = [join(parent, card.album) for parent in (*default, "")][:1] if card.album else []
    return list(dict.fromkeys([*albums, *default, *shortcuts, ""]))


def _cancel_button(ctx: Context, task_id: str) -> Keyboard:
    return ((Button(ctx.t("Cancel"), f"cancel:{task_id}"),),)


def _refusals(ctx: Context, contents: MessageContents) -> str:
    shown = list(contents.refused.items())[: drafts.MAX_SHOWN]
    lines = [
        f"<code>{escape(link[:_MAX_LINK])}</code>: {escape(ctx.t.text(reason))}" for link, reason in shown
    ]
    more = len(contents.refused) - len(shown)
    return "\n".join([*lines, ctx.t("… and {n} more", n=more)] if more > 0 else lines)
