"""Telegra.ph: the pictures and videos of an article, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from msgspec.structs import replace

from saveany.errors import Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.directlinks import DirectLinksSource
from workers.sources.http_requests import DownloadRequest
from workers.sources.http_response import name_of, unquoted

#: Maximum size of an article's page.
_MAX_PAGE_BYTES = 8 << 20


class TelegraphSource(Source):
    """`tphpics`: one file for each picture, in a folder named after the article."""

    def __init__(self, tools: Tools) -> None:
        self._direct_links = DirectLinksSource(tools)

    @property
    def read_ahead(self) -> int:
        """As for `directlinks`, which fetches the files."""
        return self._direct_links.read_ahead

    async def close(self) -> None:
        """Close all connections."""
        await self._direct_links.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The pictures of the articles: 01.jpg, 02.jpg …"""
        return [file for url in spec.links for file in await self._pictures(url)]

    async def _pictures(self, url: str) -> list[ResolvedFile]:
        parser = _PageParser()
        page = await self._direct_links.read(DownloadRequest(url, {}, {}), _MAX_PAGE_BYTES)
        try:
            parser.feed(page.decode(errors="replace"))
        except AssertionError as error:  # the parser's error for an invalid declaration
            raise Permanent("the article is not valid HTML") from error
        files = [target for src in parser.sources if (target := _absolute(url, src))]
        if not files:
            raise Permanent("this article has no pictures")
        folder = safe_name(unquoted(urlsplit(url).path.strip("/")).rpartition("/")[2])
        width = max(2, len(str(len(files))))
        return [
            ResolvedFile(f"{number:0{width}}{_extension(target)}", None, {"url": target}, folder)
            for number, target in enumerate(files, 1)
        ]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As for `directlinks`, but the name stays the number."""
        ready = await self._direct_links.prepare(item, spec, report, pages=False)
        if "." in item.name:
            return replace(ready, name=item.name)
        extension = ready.name.rpartition(".")[2] if "." in ready.name else "jpg"
        return replace(ready, name=f"{item.name}.{extension}")

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As for `directlinks`."""
        await self._direct_links.fetch(item, write, have)

    async def stop(self, task_id: str) -> None:
        """Close the task's connections."""
        await self._direct_links.stop(task_id)

    async def forget(self, task_id: str) -> None:
        """Close the task's connections."""
        await self._direct_links.forget(task_id)


class _PageParser(HTMLParser):
    """Collects the URLs of the pictures and videos in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each element."""
        source = dict(attrs).get("src")
        if tag in ("img", "video", "source") and source and source not in self.sources:
            self.sources.append(source)


def _absolute(page: str, source: str) -> str:
    """The absolute URL of a picture in a page; "" for one that cannot be downloaded, such as `data:`."""
    try:
        target = urljoin(page, source.strip())
    except ValueError:
        return ""
    return target if target.startswith(("http://", "https://")) else ""


def _extension(url: str) -> str:
    name = name_of(url) if urlsplit(url).path else ""
    extension = name.rpartition(".")[2] if "." in name else ""
    return f".{extension}" if extension else ""
