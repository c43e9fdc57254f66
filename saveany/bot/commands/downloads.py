"""/dl, /ytdlp, /aria2dl, /transfer and /send: what comes from elsewhere than Telegram."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from saveany.bot import cards
from saveany.bot.context import Context
from saveany.bot.drafts import SHOWN, MessageContents, TaskDraft
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, said
from saveany.errors import InvalidInput
from saveany.planning.source_choice import source_of


async def dl(ctx: Context, words: str) -> None:
    """Files at plain URLs."""
    await _propose(ctx, "directlinks", {"urls": _some(words.split())})


async def ytdlp(ctx: Context, words: str) -> None:
    """Videos; words that begin with a dash are options, with the word that follows as their value."""
    urls, flags = _flags(_split(words))
    await _propose(ctx, "ytdlp", {"urls": _some(urls)} | ({"flags": flags} if flags else {}))


async def aria2dl(ctx: Context, words: str) -> None:
    """Torrents, magnets and files by aria2; each is a download of its own."""
    await _propose(ctx, "aria2", {"urls": _some(words.split())})


async def transfer(ctx: Context, words: str) -> None:
    """Files of a storage to another."""
    await _propose(ctx, "transfer", _files_of(ctx, words, "transfer"))


async def send(ctx: Context, words: str) -> None:
    """Files of a storage into the person's talk with the bot."""
    await cards.send(ctx, _found(ctx, "transfer", _files_of(ctx, words, "send")))


def _files_of(ctx: Context, words: str, command: str) -> dict[str, Any]:
    """`STORAGE:FOLDER PATTERN`, as the parameters of a transfer; what has spaces stands in quotes."""
    place, *patterns = _split(words) or [""]
    storage, colon, path = place.partition(":")
    if not colon:
        raise CommandError(
            said("say /{command} STORAGE:FOLDER, and a pattern such as *.mkv if not all is wanted"),
            command=command,
        )
    ctx.check_storage(storage)
    params = {"source_storage": storage, "source_path": path.strip("/")}
    return params | ({"pattern": " ".join(patterns)} if patterns else {})


async def _propose(ctx: Context, type_: str, given: Mapping[str, Any]) -> None:
    await cards.propose(ctx, _found(ctx, type_, given))


def _found(ctx: Context, type_: str, given: Mapping[str, Any]) -> MessageContents:
    """What one source is asked for."""
    source = source_of(ctx.services.config, type_)
    try:
        params = source.params.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(str(first["msg"]).removeprefix("Value error, ")) from None
    found = tuple(source.canonical(link) for link in params.links())
    names = [f"{given['source_storage']}:/{link}" for link in found] if type_ == "transfer" else list(found)
    return MessageContents([TaskDraft(type_, found, params.extras())], names[:SHOWN], count=len(found))


def _some(urls: Sequence[str]) -> list[str]:
    if not urls:
        raise CommandError(said("give at least one URL"))
    return list(urls)


def _split(words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError as error:
        raise CommandError(said("this cannot be read: {reason}"), reason=str(error)) from None


def _flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """URLs and options. What follows an option is its value, unless it is an option or a URL itself."""
    urls: list[str] = []
    flags: list[str] = []
    takes = False
    for word in words:
        if word.startswith("-"):
            flags.append(word)
            takes = "=" not in word
        elif takes and "://" not in word:
            flags.append(word)
            takes = False
        else:
            urls.append(word)
            takes = False
    return urls, flags


COMMANDS = (
    Command("dl", dl, said("Save files from URLs"), usage=("URL …",)),
    Command("ytdlp", ytdlp, said("Save videos by yt-dlp"), usage=("URL …", "-f mp4 URL"), source="ytdlp"),
    Command("aria2dl", aria2dl, said("Save torrents and magnets by aria2"), usage=("URL …",), source="aria2"),
    Command(
        "transfer",
        transfer,
        said("Copy files from one storage to another"),
        usage=("STORAGE:FOLDER", "STORAGE:FOLDER *.mkv"),
    ),
    Command(
        "send",
        send,
        said("Send files of a storage to you"),
        usage=("STORAGE:FILE", "STORAGE:FOLDER *.mkv"),
        private=True,
    ),
)
