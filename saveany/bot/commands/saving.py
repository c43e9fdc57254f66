"""/save: the file of the message it replies to, or links and ranges of messages."""

from __future__ import annotations

import re

from saveany.bot import cards, drafts
from saveany.bot.context import Context
from saveany.bot.drafts import MessageContents, TaskDraft
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError
from saveany.planning.filter_syntax import parse_filter
from saveany.planning.names import safe_name
from saveany.telegram import links
from saveany.telegram.update_types import ChatMessage
from saveany.texts import gettext_noop

_RANGE = re.compile(r"(?P<chat>\S+)\s+(?P<first>\d+)-(?P<last>\d+)(?:\s+(?P<filter>.+))?", re.DOTALL)
_CHANNEL = re.compile(r"-100(\d+)")


async def save(ctx: Context, args: str) -> None:
    """Save the file of the message that /save replies to, optionally under another name; or links, or a
    range."""
    update = ctx.update
    replied_to = update.reply_to if isinstance(update, ChatMessage) else 0
    if replied_to:
        await _save_replied_to(ctx, replied_to, args)
    elif match := _RANGE.fullmatch(args):
        await cards.show_card(ctx, _range(ctx, match))
    elif isinstance(update, ChatMessage) and update.urls:
        await cards.handle_messages(ctx, [update])
    else:
        raise CommandError("Reply to a message with /save, or add links, or a chat and two message numbers.")


async def _save_replied_to(ctx: Context, message_id: int, name: str) -> None:
    message = await ctx.read_message(message_id)
    if message is None:
        raise CommandError("That message no longer exists.")
    contents = drafts.read_messages(ctx.services.config, [message])
    if not contents.drafts:
        raise CommandError("That message contains nothing to save.")
    if name:
        contents.drafts = [
            TaskDraft(each.type, each.links, each.params, filename=safe_name(name))
            for each in contents.drafts
        ]
        contents.names = [safe_name(name)]
    await cards.show_card(ctx, contents)


def _range(ctx: Context, match: re.Match[str]) -> MessageContents:
    """`/save @channel 100-200 type=video`, or, as in SaveAny-Bot, with a pattern for names."""
    chat = match["chat"].removeprefix("https://t.me/").removeprefix("@").strip("/")
    channel = _CHANNEL.fullmatch(chat)
    path = f"c/{channel[1]}" if channel else chat
    link = links.parse(f"https://t.me/{path}/{match['first']}-{match['last']}")
    wanted = parse_filter(match["filter"] or "")
    params: dict[str, object] = {"filter": wanted} if wanted else {}
    last = link.message if link.last is None else link.last
    count = last - link.message + 1
    size = ctx.t.plural("{n} message", "up to {n} messages", count)
    return MessageContents([TaskDraft("tgfiles", (link.url,), params)], [f"{link.url} ({size})"], count=1)


COMMANDS = (
    Command(
        "save",
        save,
        gettext_noop("Save a message, or a range of messages"),
        usage=("NAME", "LINK …", "@channel 100-200", "@channel 100-200 type=video size>10MB"),
    ),
)
