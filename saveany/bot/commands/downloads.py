"""/dl, /ytdlp, /aria2dl, /transfer and /send: files that do not come from Telegram."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from saveany.bot import cards
from saveany.bot.context import Context
from saveany.bot.drafts import MAX_SHOWN, MessageContents, TaskDraft
from saveany.bot.registry import Command
from saveany.bot.render import location
from saveany.bot.texts import CommandError
from saveany.errors import InvalidInput
from saveany.planning.source_choice import source_of
from saveany.texts import gettext_noop
from saveany.validation import explain


async def dl(ctx: Context, args: str) -> None:
    """Save files from URLs."""
    await _show_card(ctx, "directlinks", {"urls": _check_urls(args.split())})


async def ytdlp(ctx: Context, args: str) -> None:
    """Save videos. Words that begin with a dash are options of yt-dlp, and may take the next word as
    value."""
    urls, flags = _split_flags(_split(args))
    await _show_card(ctx, "ytdlp", {"urls": _check_urls(urls)} | ({"flags": flags} if flags else {}))


async def aria2dl(ctx: Context, args: str) -> None:
    """Save torrents, magnet links and files with aria2, each as one download."""
    await _show_card(ctx, "aria2", {"urls": _check_urls(args.split())})


async def transfer(ctx: Context, args: str) -> None:
    """Copy files from one storage to another."""
    await _show_card(ctx, "transfer", _parse_files(ctx, args, "transfer"))


async def send(ctx: Context, args: str) -> None:
    """Send files of a storage to the user."""
    await cards.send_to_user(ctx, _contents(ctx, "transfer", _parse_files(ctx, args, "send")))


def _parse_files(ctx: Context, args: str, command: str) -> dict[str, Any]:
    """The parameters of a transfer from `STORAGE:FOLDER PATTERN`. Quotes allow spaces."""
    path, *patterns = _split(args) or [""]
    storage, colon, folder = path.partition(":")
    if not colon:
        raise CommandError(
            "Send /{command} STORAGE:FOLDER, followed by a pattern such as *.mkv to select files.",
            command=command,
        )
    ctx.check_storage(storage)
    params = {"source_storage": storage, "source_path": folder.strip("/")}
    return params | ({"pattern": " ".join(patterns)} if patterns else {})


async def _show_card(ctx: Context, type_: str, params: Mapping[str, Any]) -> None:
    await cards.show_card(ctx, _contents(ctx, type_, params))


def _contents(ctx: Context, type_: str, given: Mapping[str, Any]) -> MessageContents:
    """The contents of a card for one source with these parameters."""
    source = source_of(ctx.services.config, type_)
    try:
        params = source.params.model_validate(given)
    except ValidationError as error:
        raise InvalidInput(explain(error.errors()[0])) from None
    found = tuple(source.canonical(link) for link in params.links())
    names = (
        [location(given["source_storage"], link) for link in found] if type_ == "transfer" else list(found)
    )
    draft = TaskDraft(type_, found, params.extras())
    return MessageContents([draft], names[:MAX_SHOWN], count=len(found))


def _check_urls(urls: Sequence[str]) -> list[str]:
    if not urls:
        raise CommandError("Add at least one URL.")
    return list(urls)


def _split(args: str) -> list[str]:
    try:
        return shlex.split(args)
    except ValueError:
        raise CommandError(
            "A quotation mark is not closed, or the text ends with a backslash. Fix it and send it again."
        ) from None


def _split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """URLs and options. The word after an option is its value, unless it is an option or a URL."""
    urls: list[str] = []
    flags: list[str] = []
    takes_value = False
    for word in words:
        if word.startswith("-"):
            flags.append(word)
            takes_value = "=" not in word
        elif takes_value and "://" not in word:
            flags.append(word)
            takes_value = False
        else:
            urls.append(word)
            takes_value = False
    return urls, flags


COMMANDS = (
    Command("dl", dl, gettext_noop("Save files from URLs"), usage=("URL …",)),
    Command(
        "ytdlp",
        ytdlp,
        gettext_noop("Save videos with yt-dlp"),
        usage=("URL …", "-f mp4 URL"),
        source="ytdlp",
    ),
    Command(
        "aria2dl",
        aria2dl,
        gettext_noop("Save torrents and magnet links with aria2"),
        usage=("URL …",),
        source="aria2",
    ),
    Command(
        "transfer",
        transfer,
        gettext_noop("Copy files from one storage to another"),
        usage=("STORAGE:FOLDER", "STORAGE:FOLDER *.mkv"),
    ),
    Command(
        "send",
        send,
        gettext_noop("Send me files from a storage"),
        usage=("STORAGE:FILE", "STORAGE:FOLDER *.mkv"),
        private=True,
    ),
)
