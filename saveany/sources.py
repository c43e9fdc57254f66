"""What a task can be made from. One `SourceSpec` per source, in the order in which they are asked for a URL.

Pure: no network, no library of a source. The work is done by `workers/sources/`, one file per source. To add
a source, write its parameters and its row in `SOURCES` here, and its file there.

The names are those of SaveAny-Bot's task types. A row that is not available is a name we know and refuse with
"not available" rather than "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from saveany.telegram import links


class Params(BaseModel):
    """The `params` object of a typed request; a source adds its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TgFiles(Params):
    """Media of Telegram messages."""

    message_links: list[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = Field(
        min_length=1,
        max_length=100,
        description="Links to messages. An album is saved whole unless its link says `?single`.",
        examples=[["https://t.me/channel/123"]],
    )


ParamsModel = type[Params]


def _nothing(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source: its name in the API, what it takes, and which URLs are its own."""

    type: str
    title: str
    params: ParamsModel = Params
    claims: Callable[[str], bool] = (
        _nothing  # whether a URL is meant for this source, even if it is not valid
    )
    available: bool = False


SOURCES: tuple[SourceSpec, ...] = (
    SourceSpec("tgfiles", "Files of Telegram messages", TgFiles, links.looks_like, available=True),
    SourceSpec("tphpics", "Pictures of a telegra.ph page"),
    SourceSpec("parseditem", "Media of a page on a supported site"),
    SourceSpec("ytdlp", "Videos, by yt-dlp"),
    SourceSpec("aria2", "Torrents, magnets and files, by aria2"),
    SourceSpec("directlinks", "Files at plain URLs"),
    SourceSpec("transfer", "Files of another storage"),
)

SOURCES_BY_TYPE: Mapping[str, SourceSpec] = {source.type: source for source in SOURCES}
