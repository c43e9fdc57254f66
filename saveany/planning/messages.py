"""The files of Telegram messages, as the planner takes them: with the text and the name of their albums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from saveany.planning.facts import Facts
from saveany.planning.names import name_of, split_extension
from saveany.planning.plan import ResolvedFile

if TYPE_CHECKING:
    from saveany.telegram.media import Media


class Albums:
    """Text and name of each album of some files. The text belongs to one of its messages, but describes all
    of them. The name is the stem of the first file's name, which is made from the text if the file itself has
    no name."""

    def __init__(self, found: Iterable[Media]) -> None:
        self._known: dict[tuple[int, int | None], tuple[str, str]] = {}
        for media in found:
            if media.grouped_id:
                text, name = self._of(media)
                self._known[_key(media)] = text or media.caption, name or split_extension(name_of(media))[0]

    def with_text(self, media: Media) -> Media:
        """The file with the text of its message, or of its album if its message has none."""
        return replace(media, caption=media.caption or self._of(media)[0])

    def resolved(self, media: Media) -> ResolvedFile:
        """The file for the planner."""
        facts = Facts(
            text=self.with_text(media).caption,
            kind=media.kind,
            album=self._of(media)[1],
            chat=media.origin_username if media.origin_id else media.chat_username,
            chat_id=media.origin_id or media.chat_id,
            message_id=media.message_id,
            date_ms=media.date_ms,
        )
        return ResolvedFile(
            name_of(media),
            media.size,
            media.source(),
            facts=facts,
            album=f"{media.chat_id}/{media.grouped_id}" if media.grouped_id else "",
            caption=media.caption,
        )

    def _of(self, media: Media) -> tuple[str, str]:
        return self._known.get(_key(media), ("", "")) if media.grouped_id else ("", "")


def _key(media: Media) -> tuple[int, int | None]:
    return media.chat_id, media.grouped_id
