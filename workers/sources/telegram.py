"""Telegram: message links to documents and photos, through the accounts of this worker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from saveany.errors import Permanent
from saveany.filters import Filter
from saveany.models import Item, TaskSpec
from saveany.planning.facts import Facts
from saveany.planning.names import name_for, split
from saveany.planning.plan import ResolvedFile
from saveany.telegram import links
from saveany.telegram.file import PhotoSizeMismatch
from saveany.telegram.media import Media
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write

_Key = tuple[int, int, int]  # chat, message and document

#: So many files are remembered as they were read: their references are good for hours, not for days.
_FRESH = 200


class TelegramSource(Source):
    """`tgfiles`: the media of one or several messages."""

    def __init__(self, tools: Tools) -> None:
        self._config = tools.config
        self._accounts = tools.accounts
        self._on_wait = tools.on_wait
        # What was read while resolving, so that the first fetch need not read the message again.
        self._fresh: dict[_Key, Media] = {}
        self._sizes: dict[_Key, int] = {}  # of photos that have another size than Telegram says

    @property
    def problem(self) -> str:
        """Why no account can be used."""
        if self._accounts.ready:
            return ""
        return min(self._accounts.problems.values(), default="no Telegram account is configured")

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of every link that pass the filter; a message linked twice counts once."""
        found: dict[_Key, Media] = {}
        user = self._config.user(spec.user_id)
        for link in map(links.parse, spec.links):
            # What the user has sent to the bot is the user's own; only the bot can read it.
            only = user.accounts if user and not link.bot_chat_id else ()
            for media in await self._accounts.resolve(link, only, username=spec.params.get("username", "")):
                found.setdefault((media.chat_id, media.message_id, media.document_id), media)
        albums = _albums(found.values())
        wanted = Filter.model_validate(spec.params.get("filter", {}))
        passed = {key: media for key, media in found.items() if wanted.accepts(_told(media, albums))}
        if not passed:
            raise Permanent(f"None of the {len(found)} files passes the filter.")
        self._fresh = dict(list((self._fresh | passed).items())[-_FRESH:])
        return [_found(media, albums) for media in passed.values()]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """With its true size, if it was found to have another one than Telegram says."""
        return msgspec.structs.replace(item, size=self._sizes.get(_key(item), item.size))

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Download the file; its message is read again if this worker has not read it yet."""
        media = self._fresh.pop(_key(item), None)
        if media is None:
            media = await self._accounts.find(item.source)
        if media.kind == "photo" and item.size is not None:
            media = replace(media, size=item.size)
        try:
            await self._accounts.download(media, write=write, have=have, on_wait=self._on_wait)
        except PhotoSizeMismatch as error:
            self._sizes[_key(item)] = error.size
            raise
        self._sizes.pop(_key(item), None)


def _key(item: Item) -> _Key:
    return item.source["chat"], item.source["message"], item.source["document"]


_Albums = dict[tuple[int, int | None], tuple[str, str]]


def _albums(found: Iterable[Media]) -> _Albums:
    """Text and name of each album. The text stands beside one of its files, and is meant for all; the name is
    that of the first file, which is the first line of the text where files have no names of their own."""
    albums: _Albums = {}
    for media in filter(lambda each: each.grouped_id, found):
        text, name = albums.get(_album(media), ("", ""))
        albums[_album(media)] = text or media.caption, name or split(_name(media))[0]
    return albums


def _album(media: Media) -> tuple[int, int | None]:
    return media.chat_id, media.grouped_id


def _told(media: Media, albums: _Albums) -> Media:
    """The file with the text that goes with it."""
    text = albums[_album(media)][0] if media.grouped_id else ""
    return replace(media, caption=media.caption or text)


def _found(media: Media, albums: _Albums) -> ResolvedFile:
    facts = Facts(
        text=_told(media, albums).caption,
        kind=media.kind,
        album=albums[_album(media)][1] if media.grouped_id else "",
        chat=media.origin_username if media.origin_id else media.chat_username,
        chat_id=media.origin_id or media.chat_id,
        message_id=media.message_id,
        date_ms=media.date_ms,
    )
    return ResolvedFile(
        _name(media),
        media.size,
        media.source(),
        facts=facts,
        album=f"{media.chat_id}/{media.grouped_id}" if media.grouped_id else "",
        caption=media.caption,
    )


def _name(media: Media) -> str:
    return name_for(
        original=media.name,
        caption=media.caption,
        date_ms=media.date_ms,
        message_id=media.message_id,
        mime_type=media.mime_type,
        kind=media.kind,
    )
