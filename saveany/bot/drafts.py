"""From messages to what they ask for: files, links to messages, other URLs, each for a source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from saveany.config import Config
from saveany.errors import SaveAnyError
from saveany.planning.names import safe_name
from saveany.planning.source_choice import source_for
from saveany.telegram import links
from saveany.telegram.update_types import Attachment, ChatMessage

#: Of so many things the names are shown.
SHOWN = 5
_TELEGRAM = "tgfiles"


class TaskDraft(msgspec.Struct, frozen=True):
    """What will be one task."""

    type: str
    links: tuple[str, ...]
    params: dict[str, object] = {}
    filename: str = ""


@dataclass(slots=True)
class MessageContents:
    """What there is in some messages."""

    drafts: list[TaskDraft] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the first things, for people
    count: int = 0
    size: int = 0  # bytes, as far as they are known
    album: str = ""  # a folder for it, if all is one album
    sent: bool = False  # some of it are the person's own messages
    refused: dict[str, str] = field(default_factory=dict)  # link -> why


def look(config: Config, messages: Sequence[ChatMessage]) -> MessageContents:
    """What messages ask for. A message with a file means the file, whatever its text links to."""
    found = MessageContents()
    by_type: dict[str, dict[str, None]] = {}  # the links of each type, in order
    for message in messages:
        if message.file is not None:
            by_type.setdefault(_TELEGRAM, {})[alone(message.link)] = None
            found.sent = True
            _add(found, name_of(message, message.file), message.file.size)
            continue
        for url in message.urls:
            try:
                type_, link = _source(config, url)
            except SaveAnyError as error:
                found.refused[url] = error.message
                continue
            if link not in by_type.setdefault(type_, {}):
                by_type[type_][link] = None
                _add(found, link, 0)
    found.drafts = [TaskDraft(type_, tuple(links_)) for type_, links_ in by_type.items()]
    found.album = _album(messages)
    return found


def name_of(message: ChatMessage, file: Attachment) -> str:
    """What a file is called in front of people."""
    return file.name or message.text.partition("\n")[0][:60] or f"{file.kind} {message.id}"


def alone(link: str) -> str:
    """The link to this message without the album around it: its other messages have come, too."""
    return replace(links.parse(link), single=True).url


def _source(config: Config, url: str) -> tuple[str, str]:
    source = source_for(config, url)
    return source.type, source.canonical(url)


def _add(found: MessageContents, name: str, size: int) -> None:
    found.count += 1
    found.size += size
    if len(found.names) < SHOWN:
        found.names.append(name)


def _album(messages: Iterable[ChatMessage]) -> str:
    """The name of the album that all of the messages are, "" if they are none."""
    several = list(messages)
    if len(several) < 2 or not several[0].album or len({message.album for message in several}) > 1:
        return ""
    text = next((message.text for message in several if message.text), "")
    file = several[0].file
    stem = (file.name.rpartition(".")[0] if file and file.name else "") or f"album_{several[0].id}"
    return safe_name(text.partition("\n")[0][:60] or stem)
