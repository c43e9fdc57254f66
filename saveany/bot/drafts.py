"""The tasks that messages ask for: files, links to messages and other URLs, each with its source."""

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
from saveany.texts import Text

#: Maximum number of file names shown on a card.
MAX_SHOWN = 5
#: Maximum number of messages for which a card offers links.
MAX_LINKED = 10
_TELEGRAM = "tgfiles"


class TaskDraft(msgspec.Struct, frozen=True):
    """A task before the storage and folder are chosen."""

    type: str
    links: tuple[str, ...]
    params: dict[str, object] = {}
    filename: str = ""


@dataclass(slots=True)
class MessageContents:
    """The files and links in some messages."""

    drafts: list[TaskDraft] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the first files and links, as shown to the user
    count: int = 0  # files and links
    size: int = 0  # in bytes, of the files whose size is known
    album: str = ""  # name for a folder, if all files are one album
    has_files: bool = False  # some messages contain files, not just links
    refused: dict[str, Text] = field(default_factory=dict)  # link -> reason

    @property
    def can_link(self) -> bool:
        """Whether the contents are a few messages, each of them named."""
        urls = [link for draft in self.drafts for link in draft.links]
        known = all(draft.type == _TELEGRAM and not draft.params for draft in self.drafts)
        return known and len(urls) <= MAX_LINKED and all(links.parse(url).last is None for url in urls)


def read_messages(config: Config, messages: Sequence[ChatMessage]) -> MessageContents:
    """The files and links in messages. In a message with a file, links are ignored."""
    contents = MessageContents()
    by_type: dict[str, dict[str, None]] = {}  # the links of each type, in order
    for message in messages:
        if message.file is not None:
            by_type.setdefault(_TELEGRAM, {})[single_link(message.link)] = None
            contents.has_files = True
            _count(contents, display_name(message, message.file), message.file.size)
            continue
        for url in message.urls:
            try:
                type_, link = _source(config, url)
            except SaveAnyError as error:
                contents.refused[url] = error.text
                continue
            if link not in by_type.setdefault(type_, {}):
                by_type[type_][link] = None
                _count(contents, link, 0)
    contents.drafts = [TaskDraft(type_, tuple(links_)) for type_, links_ in by_type.items()]
    contents.album = _album_name(messages)
    return contents


def display_name(message: ChatMessage, file: Attachment) -> str:
    """The name of a file as shown to the user."""
    return file.name or message.text.partition("\n")[0][:60] or f"{file.kind} {message.id}"


def single_link(link: str) -> str:
    """The link to a message without its album, whose other messages the bot received too."""
    return replace(links.parse(link), single=True).url


def _source(config: Config, url: str) -> tuple[str, str]:
    source = source_for(config, url)
    return source.type, source.canonical(url)


def _count(contents: MessageContents, name: str, size: int) -> None:
    contents.count += 1
    contents.size += size
    if len(contents.names) < MAX_SHOWN:
        contents.names.append(name)


def _album_name(messages: Iterable[ChatMessage]) -> str:
    """The name of the album that consists of all the messages; "" if they are not one album."""
    several = list(messages)
    if len(several) < 2 or not several[0].album or len({message.album for message in several}) > 1:
        return ""
    text = next((message.text for message in several if message.text), "")
    file = several[0].file
    stem = (file.name.rpartition(".")[0] if file and file.name else "") or f"album_{several[0].id}"
    return safe_name(text.partition("\n")[0][:60] or stem)
