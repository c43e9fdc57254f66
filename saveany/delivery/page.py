"""The page of a link: what it is, a player or a gallery, and buttons to download and play it, in the language
of the reader. It works without JavaScript."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from saveany.catalogue.link_models import FolderFiles, Link, LinkedFile
from saveany.delivery.content import mime_of
from saveany.delivery.headers import shown_name
from saveany.delivery.themes import THEMES
from saveany.languages import requested, translator
from saveany.texts import Text, gettext_noop

if TYPE_CHECKING:
    from jinja2 import Environment

_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    "cache-control": "no-store",
}
_PLAYED: Final = ("video/", "audio/")
#: Maximum number of files of a folder that its page shows.
_MAX_SHOWN: Final = 1000


class _Button(NamedTuple):
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A file of a link on a page or in a playlist. Its addresses begin with `base`, or are relative to the
    page if that is empty."""

    base: str
    token: str
    id: str  # of a file in a folder; "" for the file of the link itself
    name: str
    size: int
    mime: str

    @property
    def is_played(self) -> bool:
        """Whether players can be expected to play it."""
        return self.mime.startswith(_PLAYED)

    @property
    def kind(self) -> str:
        """How a browser shows it: video, audio, image, or "" for not at all."""
        kind = self.mime.partition("/")[0]
        return kind if kind in ("video", "audio") or (kind == "image" and "svg" not in self.mime) else ""

    @property
    def download(self) -> str:
        """Address that downloads it."""
        return self._url("dl")

    @property
    def stream(self) -> str:
        """Address that plays or shows it."""
        return self._url("stream")

    @property
    def page(self) -> str:
        """Address of its page."""
        return f"{self.base}/s/{self.token}" + (f"/{self.id}" if self.id else "")

    @property
    def thumbnail(self) -> str:
        """Address of its thumbnail, which may not exist."""
        return f"{self.base}/thumb/{self.token}" + (f"/{self.id}" if self.id else "")

    def _url(self, kind: str) -> str:
        middle = f"/{self.id}" if self.id else ""
        return f"{self.base}/{kind}/{self.token}{middle}/{quote(self.name, safe='')}"


def entry_of(link: Link, base: str, file_id: str = "") -> LinkEntry | None:
    """The file of a link; None for a folder."""
    if link.file is not None:
        return _entry(base, link.token, file_id, link.file, link.name)
    if link.media is not None:
        name = shown_name(link.name)
        return LinkEntry(base, link.token, "", name, link.media.size, link.media.mime or mime_of(name))
    return None


def entries_of(link: Link, base: str, members: Iterable[tuple[str, LinkedFile]]) -> list[LinkEntry]:
    """The files of the folder of a link, with their paths as names."""
    return [_entry(base, link.token, file.id, file, path) for path, file in members]


def _entry(base: str, token: str, file_id: str, file: LinkedFile, path: str) -> LinkEntry:
    name = "/".join(map(shown_name, path.split("/")))
    return LinkEntry(base, token, file_id, name, file.size, file.mime or mime_of(name))


def locked_page(link: Link, problem: str = "", theme: str = "") -> str:
    """The page that asks for the password of a link."""
    return _render("share.html", link, theme, problem=problem, locked=True)


def file_page(link: Link, entry: LinkEntry, outside: LinkEntry, theme: str = "") -> str:
    """The page of a file. `outside` is the same with addresses for other programs than the browser."""
    players = _players(link, outside)
    return _render("share.html", link, theme, entry=entry, size=readable(entry.size), players=players)


def folder_page(link: Link, base: str, found: FolderFiles, theme: str = "") -> str:
    """The page of a folder, with its first files as a gallery."""
    shown = entries_of(link, base, found.files[:_MAX_SHOWN])
    count, t = len(found.files), translator(requested.get())
    total = readable(sum(file.size for _, file in found.files))
    archive = f"{base}/dl/{link.token}/{quote(shown_name(link.name), safe='')}.zip"
    played = any(entry.is_played for entry in shown)
    return _render(
        "folder.html",
        link,
        theme,
        entries=[(entry, readable(entry.size)) for entry in shown],
        more=count - len(shown),
        summary=t.messages("{n} file, {size}", "{n} files, {size}", count).format(n=count, size=total),
        count=count,
        archive=archive if found.is_complete else "",
        playlist=f"{base}/s/{link.token}/playlist.m3u8" if played and not link.password else "",
    )


def playlist(entries: Iterable[LinkEntry]) -> str:
    """An M3U playlist with the files that players can play."""
    lines = [f"#EXTINF:-1,{entry.name}\n{entry.stream}\n" for entry in entries if entry.is_played]
    return "".join(["#EXTM3U\n", *lines])


def _players(link: Link, entry: LinkEntry) -> list[_Button]:
    """What opens a file in the player of the reader. A player has not got the cookie of a password."""
    if not entry.is_played or link.password:
        return []
    return list(_buttons(entry))


def _buttons(entry: LinkEntry) -> Iterator[_Button]:
    url = entry.stream
    scheme, _, rest = url.partition("://")
    yield _Button("VLC", f"vlc://{url}")
    yield _Button("mpv", f"mpv://play/{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}/")
    yield _Button("Infuse", f"infuse://x-callback-url/play?url={quote(url, safe='')}")
    title = quote(entry.name, safe="")
    yield _Button(
        "MX Player",
        f"intent://{rest}#Intent;scheme={scheme};type={quote(entry.mime, safe='/')};"
        f"package=com.mxtech.videoplayer.ad;S.title={title};end",
    )
    yield _Button(gettext_noop("Other players (M3U)"), f"{entry.page}/playlist.m3u8")


def readable(size: int) -> str:
    """A number of bytes for people, such as 1.4 GB."""
    if size < 1000:
        return f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{value / 1000:.3g} TB"


def error_page(error: Text) -> str:
    """The page that says why a link does not work."""
    return _rendered("base.html", name=translator(requested.get()).sentence(error))


def _render(template: str, link: Link, theme: str, **values: object) -> str:
    """A page in a theme; in that of the browser if there is no such theme."""
    theme = theme if theme in THEMES else ""
    return _rendered(template, name=shown_name(link.name), theme=theme, **values)


def _rendered(template: str, **values: object) -> str:
    t, page = translator(requested.get()), _templates().get_template(template)
    return page.render(style=_style(), t=t.message, language=t.language, **values)


@cache
def headers() -> Mapping[str, str]:
    """The headers of a page: it runs no script, and loads nothing but files of this host."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; media-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {**_HEADERS, "content-security-policy": policy}


@cache
def _style() -> str:
    return _templates().get_template("share.css").render()


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader  # only when the first page is opened: it costs 5 MB

    return Environment(loader=PackageLoader("saveany.delivery", "."), autoescape=True)
