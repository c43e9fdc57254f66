"""The page of a link: what it is, a player, and a button to download it. It works without JavaScript."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from saveany.catalogue.links import Link
from saveany.delivery.content import mime_of

if TYPE_CHECKING:
    from jinja2 import Template

#: The page runs no script, and loads nothing but the file.
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    "cache-control": "private, no-store",
}


def page(link: Link, *, problem: str = "", locked: bool = False) -> str:
    """The page of a link; `locked` asks for its password."""
    name = quote(link.name, safe="")
    size = link.file.size if link.file else link.media.size if link.media else None
    mime = link.file.mime if link.file else link.media.mime if link.media else ""
    mime = mime or mime_of(link.name)
    return _template().render(
        name=link.name,
        mime=mime,
        size=readable(size or 0),
        url="" if size is None or problem else f"../dl/{link.token}/{name}",
        stream=f"../stream/{link.token}/{name}",
        playlist=f"../s/{link.token}/playlist.m3u8" if mime.startswith(("video/", "audio/")) else "",
        problem=problem,
        locked=locked,
    )


def playlist(link: Link, url: str) -> str:
    """An M3U playlist with the file of the link, for players."""
    title = " ".join(link.name.split())
    return f"#EXTM3U\n#EXTINF:-1,{title}\n{url}\n"


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


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader  # only when the first page is opened: it costs 5 MB

    return Environment(loader=PackageLoader("saveany.delivery", "."), autoescape=True).get_template(
        "share.html"
    )
