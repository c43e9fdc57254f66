"""Telegram: links to messages with documents or photos, through the accounts of this worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice

import msgspec

from saveany.errors import Permanent
from saveany.filters import Filter
from saveany.models import Item, TaskSpec
from saveany.planning.facts import Facts
from saveany.planning.names import name_for, split_extension
from saveany.planning.plan import ResolvedFile
from saveany.telegram import links
from saveany.telegram.file import PhotoSizeMismatch
from saveany.telegram.media import Media
from saveany.texts import Text
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write

_Key = tuple[int, int, int]  # chat, message and document

#: Number of files whose messages are remembered. Their file references are valid for hours, not for days.
_MAX_REMEMBERED = 2_000
#: Maximum number of links of a task that are looked up at the same time.
_MAX_LOOKUPS = 200


class TelegramSource(Source):
    """`tgfiles`: the media of one or several messages."""

    def __init__(self, tools: Tools) -> None:
        self._config = tools.config
        self._accounts = tools.accounts
        self._on_wait = tools.on_wait
        # Files found by `resolve`, so that the first `fetch` need not read their messages again.
        self._remembered: dict[_Key, Media] = {}
        self._sizes: dict[_Key, int] = {}  # real sizes of photos for which Telegram states another one

    @property
    def is_concurrent(self) -> bool:
        """True: the downloader shares connections and memory among all files."""
        return True

    @property
    def problem(self) -> Text | None:
        """Why no account can be used, None if one can."""
        if self._accounts.ready:
            return None
        problems = self._accounts.problems.values()
        return min(problems, key=str, default=Text("no Telegram account is configured"))

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of every link that pass the filter; a message linked twice counts once."""
        found: dict[_Key, Media] = {}
        for media in chain.from_iterable(await self._look_up(spec)):
            found.setdefault((media.chat_id, media.message_id, media.document_id), media)
        albums = _albums(found.values())
        selection = Filter.model_validate(spec.params.get("filter", {}))
        passed = {
            key: media for key, media in found.items() if selection.accepts(_with_album_text(media, albums))
        }
        if not passed:
            raise Permanent("none of the {count} files passes the filter", count=len(found))
        self._remember(passed)
        return [_resolved_file(media, albums) for media in passed.values()]

    async def _look_up(self, spec: TaskSpec) -> list[list[Media]]:
        """The files of each link. Raises the error of the first link that fails.

        The links are looked up at the same time, so that those of one chat share requests for messages.
        """
        user, free = self._config.user(spec.user_id), asyncio.Semaphore(_MAX_LOOKUPS)

        async def look_up(text: str) -> list[Media]:
            link = links.parse(text)
            # Only the bot can read what the user has sent to the bot.
            only = user.accounts if user and not link.bot_chat_id else ()
            async with free:
                return await self._accounts.resolve(link, only, username=spec.params.get("username", ""))

        found: list[list[Media]] = []
        for result in await asyncio.gather(*map(look_up, spec.links), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            found.append(result)
        return found

    def _remember(self, files: dict[_Key, Media]) -> None:
        """Remember the files that will be fetched first, in place of those of older tasks."""
        first = dict(islice(files.items(), _MAX_REMEMBERED))
        older = {key: media for key, media in self._remembered.items() if key not in first}
        room = _MAX_REMEMBERED - len(first)
        self._remembered = dict(islice(older.items(), max(0, len(older) - room), None)) | first

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item with its real size, if an earlier attempt found that Telegram states another one."""
        return msgspec.structs.replace(item, size=self._sizes.get(_key(item), item.size))

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Download the file. Its message is read again if this worker has not read it recently."""
        media = self._remembered.pop(_key(item), None)
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
    """Text and name of each album. The text belongs to one of its messages, but describes all of them. The
    name is the stem of the first file's name, which is made from the text if the file itself has no name."""
    albums: _Albums = {}
    for media in filter(lambda each: each.grouped_id, found):
        text, name = albums.get(_album(media), ("", ""))
        albums[_album(media)] = text or media.caption, name or split_extension(_name(media))[0]
    return albums


def _album(media: Media) -> tuple[int, int | None]:
    return media.chat_id, media.grouped_id


def _with_album_text(media: Media, albums: _Albums) -> Media:
    """The file with the text of its message, or of its album if its message has none."""
    text = albums[_album(media)][0] if media.grouped_id else ""
    return replace(media, caption=media.caption or text)


def _resolved_file(media: Media, albums: _Albums) -> ResolvedFile:
    facts = Facts(
        text=_with_album_text(media, albums).caption,
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
