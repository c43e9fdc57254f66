"""/save: what a message was answered with it, or links and ranges of messages."""

from __future__ import annotations

import re

from saveany.bot import cards, drafts
from saveany.bot.context import Context
from saveany.bot.drafts import MessageContents, TaskDraft
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError, said
from saveany.planning.names import safe_name
from saveany.planning.words import filter_of
from saveany.telegram import links
from saveany.telegram.update_types import ChatMessage

_RANGE = re.compile(r"(?P<chat>\S+)\s+(?P<first>\d+)-(?P<last>\d+)(?:\s+(?P<filter>.+))?", re.DOTALL)
_CHANNEL = re.compile(r"-100(\d+)")


async def save(ctx: Context, words: str) -> None:
    """As an answer to a message, its file, under another name if one is given; else links or a range."""
    letter = ctx.letter
    answered = letter.reply_to if isinstance(letter, ChatMessage) else 0
    if answered:
        await _save_answered(ctx, answered, words)
    elif match := _RANGE.fullmatch(words):
        await cards.propose(ctx, _range(ctx, match))
    elif isinstance(letter, ChatMessage) and letter.urls:
        await cards.offer(ctx, [letter])
    else:
        raise CommandError(
            said("answer a message with /save, or give links, or a chat and two message numbers")
        )


async def _save_answered(ctx: Context, answered: int, name: str) -> None:
    message = await ctx.read(answered)
    if message is None:
        raise CommandError(said("that message is not there any more"))
    found = drafts.look(ctx.services.config, [message])
    if not found.drafts:
        raise CommandError(said("there is nothing to save in that message"))
    if name:
        found.drafts = [
            TaskDraft(each.type, each.links, each.params, filename=safe_name(name)) for each in found.drafts
        ]
        found.names = [safe_name(name)]
    await cards.propose(ctx, found)


def _range(ctx: Context, match: re.Match[str]) -> MessageContents:
    """`/save @channel 100-200 type=video`; also as SaveAny-Bot has it, with a pattern for the name."""
    chat = match["chat"].removeprefix("https://t.me/").removeprefix("@").strip("/")
    channel = _CHANNEL.fullmatch(chat)
    path = f"c/{channel[1]}" if channel else chat
    link = links.parse(f"https://t.me/{path}/{match['first']}-{match['last']}")
    wanted = filter_of(match["filter"] or "")
    params: dict[str, object] = {"filter": wanted} if wanted else {}
    last = link.message if link.last is None else link.last
    count = last - link.message + 1
    name = ctx.t.n("{n} message", "up to {n} messages", count)
    return MessageContents([TaskDraft("tgfiles", (link.url,), params)], [f"{link.url} ({name})"], count=1)


COMMANDS = (
    Command(
        "save",
        save,
        said("Save a message, or a range of them"),
        usage=("NAME", "LINK …", "@channel 100-200", "@channel 100-200 type=video size>10MB"),
    ),
)
