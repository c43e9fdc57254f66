"""/archive: whole chats, with a receipt for every message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from saveany.bot.commands.watch import parse_arguments
from saveany.bot.context import Context, rows
from saveany.bot.registry import Command
from saveany.bot.render import size
from saveany.bot.texts import CommandError, HtmlTranslator, escape
from saveany.catalogue.archive_models import MessageOutcome
from saveany.models import CopyMode, ExtraFile
from saveany.service.archives import ArchiveRequest, ShownArchive
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import gettext_noop, loaded

#: Words after the chat, and with these names fields of `ArchiveRequest`.
_SWITCHES = ("follow", "comments", "text", "stories", "profile_photos", "takeout")
#: Maximum number of archives in one message.
_MAX_SHOWN = 10
_STATES = {
    "reading": gettext_noop("in progress"),
    "following": gettext_noop("complete, and follows the chat"),
    "complete": gettext_noop("complete"),
    "paused": gettext_noop("paused"),
    "blocked": gettext_noop("interrupted"),
}
#: Lines of a receipt, in order.
_LINES = {
    MessageOutcome.SAVED: gettext_noop("saved: {n} ({size})"),
    MessageOutcome.DUPLICATE: gettext_noop("saved before: {n}"),
    MessageOutcome.FILTERED: gettext_noop("excluded by the filter: {n}"),
    MessageOutcome.GONE: gettext_noop("deleted before they were read: {n}"),
    MessageOutcome.LOCKED: gettext_noop("paid, not bought: {n}"),
    MessageOutcome.EXPIRED: gettext_noop("expired: {n}"),
    MessageOutcome.PROTECTED: gettext_noop("may not be copied: {n}"),
    MessageOutcome.FAILED: gettext_noop("failed: {n}"),
    MessageOutcome.PENDING: gettext_noop("waiting: {n}"),
}


async def archive(ctx: Context, args: str) -> None:
    """Archive a chat, or list the archives."""
    if not args:
        await ctx.reply(*await _list(ctx))
        return
    chat, _, rest = args.partition(" ")
    arguments = parse_arguments(ctx, rest.strip(), _SWITCHES, ("copy", "extra"))
    switches: dict[str, Any] = dict.fromkeys(arguments.switches, True)
    request = ArchiveRequest(
        chat=chat,
        user_id=ctx.user.id,
        storage=arguments.storage,
        folder=arguments.folder,
        start="first" if arguments.seen is None else str(arguments.seen + 1),
        filter=arguments.filter,
        copy=_copy(arguments.options.get("copy", "auto")),
        extras=_extras(arguments.options.get("extra", "")),
        **switches,
    )
    made = await ctx.services.archives.add(ctx.principal, request)
    await ctx.reply(*await _card(ctx, made.id))


def _copy(word: str) -> str:
    if word not in get_args(CopyMode):
        raise CommandError("Write copy=auto, copy=reference or copy=bytes.")
    return word


def _extras(words: str) -> list[str]:
    found = words.split(",") if words else []
    if not {*found} <= {*get_args(ExtraFile)}:
        raise CommandError(
            "Write extra=preview, cover, live_video or instant_view, or several: extra=preview,cover."
        )
    return list(dict.fromkeys(found))


async def press(ctx: Context, args: str) -> None:
    """A button of a receipt: its action and the id of the archive."""
    action, _, archive_id = args.partition(":")
    archives = ctx.services.archives
    if action == "pause":
        await archives.pause(ctx.principal, archive_id)
    elif action == "resume":
        await archives.resume(ctx.principal, archive_id)
    elif action == "retry":
        await archives.retry(ctx.principal, archive_id)
    elif action == "remove":
        await archives.remove(ctx.principal, archive_id)
        await ctx.edit(ctx.t("The archive has ended. Its files stay."))
        return
    await ctx.edit(*await _card(ctx, archive_id))


async def _list(ctx: Context) -> tuple[str, Keyboard]:
    found = await ctx.services.archives.all(ctx.principal, ctx.user.id)
    shown = [each for each in found if each.archive.start != "now"][-_MAX_SHOWN:]
    if not shown:
        return ctx.t("You archive no chats yet. Send /archive @channel to save everything in it."), ()
    lines = [f"{n}. " + "\n".join(_receipt(ctx.t, each)) for n, each in enumerate(shown, 1)]
    buttons = [Button(f"📋 {n}", f"archive:show:{each.archive.id}") for n, each in enumerate(shown, 1)]
    return "\n\n".join(lines), rows(buttons, 5)


async def _card(ctx: Context, archive_id: str) -> tuple[str, Keyboard]:
    """The receipt of an archive, with its buttons."""
    shown = await ctx.services.archives.get(ctx.principal, archive_id)
    return "\n".join(_receipt(ctx.t, shown)), rows(list(_buttons(ctx.t, shown)), 2)


def _buttons(t: HtmlTranslator, shown: ShownArchive) -> Iterator[Button]:
    archive_id = shown.archive.id
    yield Button(t("🔄 Refresh"), f"archive:show:{archive_id}")
    if shown.state == "paused":
        yield Button(t("▶️ Continue"), f"archive:resume:{archive_id}")
    elif shown.state != "complete":
        yield Button(t("⏸ Pause"), f"archive:pause:{archive_id}")
    if shown.receipt[MessageOutcome.FAILED]:
        yield Button(t("🔁 Retry"), f"archive:retry:{archive_id}")
    yield Button(t("✖ End"), f"archive:remove:{archive_id}")


def _receipt(t: HtmlTranslator, shown: ShownArchive) -> Iterator[str]:
    archive, receipt = shown.archive, shown.receipt
    yield f"🗄 <b>{escape(archive.title)}</b> ({escape(archive.name)}): {t(_STATES[shown.state])}"
    if problem := loaded(archive.problem):
        yield f"⚠️ {escape(t.text(problem))}"
    if notice := loaded(archive.notice):
        yield escape(t.text(notice))
    yield t("messages, according to Telegram: {n}", n=f"{receipt.telegram_total:,}")
    yield t("without files: {n}", n=f"{receipt.without_media:,}")
    for outcome, line in _LINES.items():
        if receipt[outcome] or outcome is MessageOutcome.SAVED:
            yield t(line, n=f"{receipt[outcome]:,}", size=size(receipt.bytes))
    yield _balance(t, shown)


def _balance(t: HtmlTranslator, shown: ShownArchive) -> str:
    """Whether the numbers add up, and if not, why."""
    rest = shown.unaccounted
    if not rest:
        return t("Every message is accounted for.")
    if rest < 0:
        return t("Deleted after they were read: {n}", n=f"{-rest:,}")
    if shown.state in ("reading", "paused", "blocked"):
        return t("Not read yet: {n}", n=f"{rest:,}")
    if shown.archive.start != "first":
        return t("Before the start of the archive: {n}", n=f"{rest:,}")
    return t("Counted by Telegram, but withheld from this account: {n}", n=f"{rest:,}")


COMMANDS = (
    Command(
        "archive",
        archive,
        gettext_noop("Save a whole chat"),
        usage=(
            "",
            "@channel",
            "@channel follow -> STORAGE:FOLDER",
            "@channel type=video from 123",
            "@channel comments text stories profile_photos takeout",
            "@channel copy=auto|reference|bytes extra=preview,cover,live_video,instant_view",
        ),
        private=True,
    ),
)
BUTTONS = {"archive": press}
