"""Texts of messages as the service stores them: trimmed, with links, mentions and commands marked."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from telethon.tl import types as tl

#: The entities that the service adds where the sender has marked nothing.
_PATTERNS: tuple[tuple[type, re.Pattern[str]], ...] = (
    (tl.MessageEntityUrl, re.compile(r"\b(?:https?|ftp)://[^\s<>\"]*[^\s<>\".,:;!?)\]']", re.IGNORECASE)),
    (tl.MessageEntityUrl, re.compile(r"(?<![\w@/.])t\.me/[^\s<>\"]*[^\s<>\".,:;!?)\]']", re.IGNORECASE)),
    (tl.MessageEntityMention, re.compile(r"(?<![\w/.])@[a-z]\w{3,31}", re.IGNORECASE | re.ASCII)),
    (tl.MessageEntityBotCommand, re.compile(r"(?<![\w/:.])/\w{1,64}(?:@\w+)?(?![\w/])", re.ASCII)),
    (tl.MessageEntityHashtag, re.compile(r"(?<![\w&/])#\w*[^\W\d]\w*")),
)

StyledText = tuple[str, tuple[Any, ...]]


def received(text: str, entities: Sequence[Any] | None) -> StyledText:
    """A trimmed text and its entities: those given by the sender and those found by the service."""
    trimmed = text.strip()
    shift = _units(text[: len(text) - len(text.lstrip())])
    given = list(_moved(entities or (), shift, _units(trimmed)))
    found = [each for each in _found(trimmed) if not any(_overlap(each, other) for other in given)]
    return trimmed, tuple(sorted([*given, *found], key=_offset))


def _found(text: str) -> Iterator[Any]:
    taken: list[Any] = []
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            entity = kind(_units(text[: match.start()]), _units(match[0]))
            if not any(_overlap(entity, other) for other in taken):
                taken.append(entity)
                yield entity


def _moved(entities: Iterable[Any], shift: int, end: int) -> Iterator[Any]:
    """The entities of the trimmed text, cut at its ends. Mentions by name get the user id, as the service
    does."""
    for entity in entities:
        start = max(0, entity.offset - shift)
        length = min(entity.offset + entity.length - shift, end) - start
        if length <= 0:
            continue
        fields = {k: v for k, v in entity.to_dict().items() if k in ("language", "url", "document_id")}
        if isinstance(entity, tl.InputMessageEntityMentionName):
            yield tl.MessageEntityMentionName(start, length, getattr(entity.user_id, "user_id", 0))
        else:
            yield type(entity)(start, length, **fields)


def _overlap(one: Any, other: Any) -> bool:
    start, end = one.offset, one.offset + one.length
    return bool(start < other.offset + other.length and other.offset < end)


def _offset(entity: Any) -> int:
    return int(entity.offset)


def _units(text: str) -> int:
    """Length in UTF-16 code units, which the service counts in."""
    return len(text.encode("utf-16-le")) // 2
