"""/save: what a message was answered with it, or links and ranges of messages."""

from __future__ import annotations

import re

from saveany.bot import cards, orders
from saveany.bot.orders import Found, Order
from saveany.bot.registry import Command
from saveany.bot.texts import Refused, said
from saveany.bot.visit import Visit
from saveany.planning.names import safe_name
from saveany.planning.words import filter_of
from saveany.telegram import links
from saveany.telegram.letters import Message

_RANGE = re.compile(r"(?P<chat>\S+)\s+(?P<first>\d+)-(?P<last>\d+)(?:\s+(?P<filter>.+))?", re.DOTALL)
_CHANNEL = re.compile(r"-100(\d+)")


async def save(visit: Visit, words: str) -> None:
    """As an answer to a message, its file, under another name if one is given; else links or a range."""
    letter = visit.letter
    answered = letter.reply_to if isinstance(letter, Message) else 0
    if answered:
        await _save_answered(visit, answered, words)
    elif match := _RANGE.fullmatch(words):
        await cards.propose(visit, _range(visit, match))
    elif isinstance(letter, Message) and letter.urls:
        await cards.offer(visit, [letter])
    else:
        raise Refused(said("answer a message with /save, or give links, or a chat and two message numbers"))


async def _save_answered(visit: Visit, answered: int, name: str) -> None:
    message = await visit.read(answered)
    if message is None:
        raise Refused(said("that message is not there any more"))
    found = orders.look(visit.services.config, [message])
    if not found.orders:
        raise Refused(said("there is nothing to save in that message"))
    if name:
        found.orders = [
            Order(each.type, each.links, each.params, filename=safe_name(name)) for each in found.orders
        ]
        found.names = [safe_name(name)]
    await cards.propose(visit, found)


def _range(visit: Visit, match: re.Match[str]) -> Found:
    """`/save @channel 100-200 type=video`; also as SaveAny-Bot has it, with a pattern for the name."""
    chat = match["chat"].removeprefix("https://t.me/").removeprefix("@").strip("/")
    channel = _CHANNEL.fullmatch(chat)
    path = f"c/{channel[1]}" if channel else chat
    link = links.parse(f"https://t.me/{path}/{match['first']}-{match['last']}")
    wanted = filter_of(match["filter"] or "")
    params: dict[str, object] = {"filter": wanted} if wanted else {}
    last = link.message if link.last is None else link.last
    count = last - link.message + 1
    name = visit.t.n("{n} message", "up to {n} messages", count)
    return Found([Order("tgfiles", (link.url,), params)], [f"{link.url} ({name})"], count=1)


COMMANDS = (
    Command(
        "save",
        save,
        said("Save a message, or a range of them"),
        usage=("NAME", "LINK …", "@channel 100-200", "@channel 100-200 type=video size>10MB"),
    ),
)
