"""Telegram: message links to documents and photos, through the accounts of this worker."""

from __future__ import annotations

from collections.abc import Sequence

from saveany.models import Item, TaskSpec
from saveany.planning.names import name_for
from saveany.planning.plan import Found
from saveany.telegram import links
from saveany.telegram.media import Media
from storages.base import Range
from workers.sources.base import Source, Tools, Write


class TelegramSource(Source):
    """`tgfiles`: the media of one or several messages."""

    def __init__(self, tools: Tools) -> None:
        self._accounts = tools.accounts
        self._on_wait = tools.on_wait
        # What was read while resolving, so that the first fetch need not read the message again.
        self._fresh: dict[tuple[int, int], Media] = {}

    @property
    def problem(self) -> str:
        """Why no account can be used."""
        if self._accounts.ready:
            return ""
        return min(self._accounts.problems.values(), default="no Telegram account is configured")

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """The files of every link; a message linked twice counts once."""
        found: dict[tuple[int, int], Media] = {}
        for link in spec.links:
            for media in await self._accounts.resolve(links.parse(link)):
                found.setdefault((media.chat_id, media.message_id), media)
        self._fresh.update(found)
        return [Found(_name(media), media.size, media.source()) for media in found.values()]

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Download the file; its message is read again if this worker has not read it yet."""
        media = self._fresh.pop((item.source["chat"], item.source["message"]), None)
        if media is None:
            media = await self._accounts.find(item.source)
        await self._accounts.download(media, write=write, have=have, on_wait=self._on_wait)


def _name(media: Media) -> str:
    return name_for(
        original=media.name,
        caption=media.caption,
        date_ms=media.date_ms,
        message_id=media.message_id,
        mime_type=media.mime_type,
        kind=media.kind,
    )
