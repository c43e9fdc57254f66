"""The sources of tasks: one `SourceSpec` per source, in the order in which they may claim a URL.

This module does no I/O and imports no library of a source; the downloads are in `workers/sources/`, one file
per source. To add a source, write its parameters and its row in `SOURCES` here, and its file there. A package
adds one with an entry point of the group `saveany.sources`, whose object is a `SourceSpec`:

    [project.entry-points."saveany.sources"]
    tape = "my_package:SOURCE"

The types have the names of SaveAny-Bot's task types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from saveany import allowed
from saveany.errors import ConfigError, InvalidInput
from saveany.filters import Filter
from saveany.models import CopyMode, ExtraFile
from saveany.telegram import links as telegram

GROUP = "saveany.sources"

#: The type of tasks that record a live stream.
LIVE = "live"
#: The type of tasks that save a file of a watched folder.
INBOX = "inbox"
#: Maximum number of links of a task.
MAX_LINKS = 10_000

Link = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
Links = Annotated[list[Link], Field(min_length=1, max_length=MAX_LINKS)]
Headers = dict[
    # The length is a keyword, because a bound within the pattern costs megabytes once it is compiled.
    Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)],
    Annotated[str, StringConstraints(pattern=r"^[^\r\n\x00]*$", max_length=8192)],
]


_Flag = Annotated[str, StringConstraints(max_length=500)]


class Params(BaseModel):
    """The `params` object of a typed request: links and download options. Each source adds its own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Name of the field with the link or links.
    link_field: ClassVar[str] = "urls"

    def links(self) -> list[str]:
        """The links."""
        value = getattr(self, self.link_field)
        return [value] if isinstance(value, str) else list(value)

    def extras(self) -> dict[str, Any]:
        """All other given fields, as plain data for `TaskSpec.params`."""
        return self.model_dump(mode="json", exclude={self.link_field}, exclude_defaults=True, by_alias=True)


class TgFilesParams(Params):
    """Media of Telegram messages."""

    link_field = "message_links"
    message_links: list[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = Field(
        min_length=1,
        max_length=MAX_LINKS,
        description="Links to messages. The whole album is saved unless the link has `?single`. "
        "`https://t.me/channel/100-200` means all messages with these numbers, up to "
        f"{telegram.MAX_RANGE:,} of them.",
        examples=[["https://t.me/channel/123", "https://t.me/channel/200-300"]],
    )
    filter: Filter = Field(default=Filter(), description="Save only the files that match this filter.")
    extra_files: list[ExtraFile] | None = Field(
        default=None,
        alias="extras",
        max_length=len(get_args(ExtraFile)),
        description="Also save these: files in the `preview` of a linked page, the `cover` of a video, the "
        "`live_video` of a photo, the files in the `instant_view` of a linked page. Default: the preview if "
        "the link leads to one message.",
    )
    copy_mode: CopyMode | None = Field(
        default=None,
        alias="copy",
        description="For a storage that is a chat of Telegram: `reference` sends files without downloading "
        "them, and fails for chats that may not be copied; `auto` downloads and uploads those; `bytes` (the "
        "default) does so with all.",
    )


class DirectLinksParams(Params):
    """Files at plain URLs."""

    urls: Links = Field(description="URLs of files.", examples=[["https://example.com/file.zip"]])
    headers: Headers = Field(default={}, description="HTTP headers to send.")
    cookies: Headers = Field(default={}, description="Cookies to send, only to the host of each URL.")
    max_bytes: int = Field(default=0, ge=0, description="Maximum size of a file in bytes; 0 means no limit.")


class YtDlpParams(Params):
    """Videos of the sites that yt-dlp supports."""

    urls: Links = Field(description="Pages of videos or playlists.", examples=[["https://example.com/watch"]])
    preset: Literal["best", "1080p", "720p", "480p", "audio"] | None = Field(
        default=None, description="Quality. Default: as configured in [ytdlp]."
    )
    flags: Annotated[list[_Flag], AfterValidator(allowed.ytdlp_flags)] = Field(
        default=[], max_length=50, description=f"Options of yt-dlp. Allowed: {', '.join(allowed.YTDLP)}."
    )
    playlist: bool = Field(default=True, description="Save all videos of a playlist.")


class GalleryParams(Params):
    """Pictures and files of sites that gallery-dl supports: X, Kemono, Danbooru and hundreds more."""

    link_field = "url"
    url: Link = Field(description="A post, album or gallery.", examples=["https://example.com/post/1"])


class Aria2Params(Params):
    """Torrents, magnets, metalinks and files, by aria2."""

    urls: Links = Field(description="Each URL is a separate download.", examples=[["magnet:?xt=urn:btih:…"]])
    options: Annotated[dict[str, str], AfterValidator(allowed.aria2_options)] = Field(
        default={}, description=f"Options of aria2. Allowed: {', '.join(sorted(allowed.ARIA2))}."
    )


class TelegraphParams(Params):
    """Pictures of a telegra.ph article."""

    link_field = "telegraph_url"
    telegraph_url: Link = Field(description="The article.", examples=["https://telegra.ph/Title-01-31"])


class UploadParams(Params):
    """A file that was uploaded over the API."""

    link_field = "upload"
    upload: str = Field(description="Id of the upload.")


class InboxParams(Params):
    """A file in a watched folder."""

    link_field = "file"
    file: str = Field(description="Its path on its machine.")


class ConvertParams(Params):
    """A saved video."""

    link_field = "path"
    path: str = Field(description="Its path in the storage.")


class TransferParams(Params):
    """Files of another storage."""

    link_field = "source_path"
    source_storage: str = Field(min_length=1, description="Storage to read files from.")
    source_path: str = Field(description="A file, or a folder with all its contents; empty means the root.")
    target_storage: str = Field(default="", description="Replaces `storage`.")
    target_path: str = Field(default="", description="Replaces `path`.")
    pattern: str = Field(
        default="",
        max_length=500,
        description="Only files whose path matches, such as *.mkv; empty: all files.",
    )
    recursive: bool = Field(default=True, description="Include subfolders.")
    move: bool = Field(
        default=False,
        description="Remove saved files from the source storage when the task is complete. Folders, skipped "
        "files and changed files are kept.",
    )


class LiveParams(Params):
    """A chat that is live."""

    link_field = "chat"
    chat: str = Field(description="The chat: @name, or its id.")
    call: int = Field(default=0, description="Id of the stream; 0 means the one that is live.")


def _claims_nothing(_: str) -> bool:
    return False


def _is_web(link: str) -> bool:
    return link.lower().startswith(("http://", "https://"))


def _on_hosts(*hosts: str) -> Callable[[str], bool]:
    """A function that returns whether a link is a web page on one of these hosts or their subdomains."""

    def claims(link: str) -> bool:
        host = _host(link)
        return any(host == known or host.endswith(f".{known}") for known in hosts)

    return claims


def _host(link: str) -> str:
    try:
        return (urlsplit(link).hostname or "").rstrip(".") if _is_web(link) else ""
    except ValueError:
        return ""


def _is_for_aria2(link: str) -> bool:
    try:
        path = urlsplit(link).path.lower()
    except ValueError:
        return False
    return link.lower().startswith(("magnet:", "ftp://", "sftp://")) or (
        _is_web(link) and path.endswith((".torrent", ".metalink", ".meta4"))
    )


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _web_link(link: str) -> str:
    link = link.strip()
    if not _host(link) or _CONTROL.search(link):
        raise InvalidInput("this must be a URL that starts with http:// or https:// and has a host", "links")
    if "@" in urlsplit(link).netloc:
        raise InvalidInput(
            "the URL must not contain a password, which titles and logs would show; use `headers`", "links"
        )
    return link


def _aria2_link(link: str) -> str:
    if not link.strip().lower().startswith(("http://", "https://", "ftp://", "sftp://", "magnet:")):
        raise InvalidInput("this must be a magnet link or a URL", "links")
    if "@" in _netloc(link.strip()):
        raise InvalidInput("the URL must not contain a password, which titles and logs would show", "links")
    return link.strip()


def _netloc(link: str) -> str:
    try:
        return urlsplit(link).netloc
    except ValueError as error:
        raise InvalidInput("this is not a valid URL", "links") from error


ParamsModel = type[Params]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source: its name in the API, its parameters, and the URLs that it claims."""

    type: str
    title: str
    params: ParamsModel
    worker: str  # import path of its `workers.sources.base.Source`, "module:Class"
    claims: Callable[[str], bool] = _claims_nothing  # whether a URL belongs to it, even if it is invalid
    canonical: Callable[[str], str] = _web_link  # a link in canonical form; raises `InvalidInput`
    table: str = ""  # table of the configuration whose `enable` enables it; "": always enabled
    internal: bool = False  # whether only SaveAny itself creates such tasks
    #: The slots of a worker that such tasks take: those for downloads, or those for recordings, which last
    #: for hours.
    slots: Literal["download", "live"] = "download"


#: Hosts whose links go to yt-dlp, and below to gallery-dl, unless a type is given. Both support many more.
_VIDEO_HOSTS = (
    "youtube.com",
    "youtu.be",
    "vimeo.com",
    "twitch.tv",
    "dailymotion.com",
    "bilibili.com",
    "b23.tv",
    "tiktok.com",
    "soundcloud.com",
    "nicovideo.jp",
    "rumble.com",
    "odysee.com",
)
_GALLERY_HOSTS = (
    "x.com",
    "twitter.com",
    "kemono.cr",
    "kemono.su",
    "coomer.st",
    "danbooru.donmai.us",
    "gelbooru.com",
    "pixiv.net",
    "deviantart.com",
    "artstation.com",
    "instagram.com",
    "imgur.com",
    "tumblr.com",
    "flickr.com",
    "e621.net",
)

SOURCES: tuple[SourceSpec, ...] = (
    SourceSpec(
        "tgfiles",
        "Files of Telegram messages",
        TgFilesParams,
        "workers.sources.telegram:TelegramSource",
        telegram.looks_like,
        lambda link: telegram.parse(link).url,
    ),
    SourceSpec(
        "tphpics",
        "Pictures of a telegra.ph page",
        TelegraphParams,
        "workers.sources.telegraph:TelegraphSource",
        _on_hosts("telegra.ph", "graph.org", "te.legra.ph"),
    ),
    SourceSpec(
        "parseditem",
        "Media of a page, by gallery-dl",
        GalleryParams,
        "workers.sources.gallery:GallerySource",
        _on_hosts(*_GALLERY_HOSTS),
        table="gallery",
    ),
    SourceSpec(
        "ytdlp",
        "Videos, by yt-dlp",
        YtDlpParams,
        "workers.sources.ytdlp:YtDlpSource",
        _on_hosts(*_VIDEO_HOSTS),
        table="ytdlp",
    ),
    SourceSpec(
        "aria2",
        "Torrents, magnets and files, by aria2",
        Aria2Params,
        "workers.sources.aria2:Aria2Source",
        _is_for_aria2,
        _aria2_link,
        table="aria2",
    ),
    SourceSpec(
        "directlinks",
        "Files at plain URLs",
        DirectLinksParams,
        "workers.sources.directlinks:DirectLinksSource",
        _is_web,
    ),
    SourceSpec(
        "transfer",
        "Files of another storage",
        TransferParams,
        "workers.sources.transfer:TransferSource",
        canonical=lambda path: path.strip("/"),
    ),
    SourceSpec(
        "upload", "Uploaded files", UploadParams, "workers.sources.upload:UploadSource", internal=True
    ),
    SourceSpec(
        INBOX, "Files of watched folders", InboxParams, "workers.sources.inbox:InboxSource", internal=True
    ),
    SourceSpec(
        "convert",
        "Videos converted to MP4",
        ConvertParams,
        "workers.sources.convert:ConvertSource",
        table="convert",
        internal=True,
    ),
    SourceSpec(
        LIVE,
        "Live streams of Telegram chats",
        LiveParams,
        "workers.sources.live:LiveSource",
        internal=True,
        slots="live",
    ),
)


@cache
def sources() -> Mapping[str, SourceSpec]:
    """All sources by type: the built-in ones, then those of other packages.

    Raises `ConfigError` for two sources with the same type and for a package that cannot be loaded.
    """
    found = {source.type: source for source in SOURCES}
    for entry in entry_points(group=GROUP):
        try:
            source = entry.load()
        except Exception as error:
            raise ConfigError(
                "source {name!r} ({value}) cannot be loaded: {error}",
                name=entry.name,
                value=entry.value,
                error=str(error),
            ) from error
        if not isinstance(source, SourceSpec):
            raise ConfigError(
                "source {name!r}: {value} is not a saveany.sources.SourceSpec",
                name=entry.name,
                value=entry.value,
            )
        if source.type in found:
            raise ConfigError(
                "source {type!r} is registered twice; remove {value}", type=source.type, value=entry.value
            )
        found[source.type] = source
    return found
