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
from workers.sources.directlinks import DirectLinksSource, DownloadRequest, name_of, unquoted

#: No article is longer.
_MOST_BYTES = 8 << 20


class TelegraphSource(Source):
    """`tphpics`: each picture is a file of its own, in a folder called like the article."""

    def __init__(self, tools: Tools) -> None:
        self._web = DirectLinksSource(tools)

    @property
    def ahead(self) -> int:
        """As `directlinks`, which fetches."""
        return self._web.ahead

    async def close(self) -> None:
        """Hang up."""
        await self._web.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The pictures of the articles: 01.jpg, 02.jpg …"""
        return [found for url in spec.links for found in await self._article(url)]

    async def _article(self, url: str) -> list[ResolvedFile]:
        page = _Page()
        text = (await self._web.read(DownloadRequest(url, {}, {}), _MOST_BYTES)).decode(errors="replace")
        try:
            page.feed(text)
        except AssertionError as error:  # so the parser calls a declaration that is none
            raise Permanent("the article is not valid HTML") from error
        files = [target for each in page.files if (target := _target(url, each))]
        if not files:
            raise Permanent("there are no pictures in this article")
        folder = safe_name(unquoted(urlsplit(url).path.strip("/")).rpartition("/")[2])
        width = max(2, len(str(len(files))))
        return [
            ResolvedFile(f"{number:0{width}}{_extension(target)}", None, {"url": target}, folder)
            for number, target in enumerate(files, 1)
        ]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As with every file of the web, but the number stays its name."""
        ready = await self._web.prepare(item, spec, report, pages=False)
        if "." in item.name:
            return replace(ready, name=item.name)
        extension = ready.name.rpartition(".")[2] if "." in ready.name else "jpg"
        return replace(ready, name=f"{item.name}.{extension}")

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As with every file of the web."""
        await self._web.fetch(item, write, have)

    async def rest(self, task_id: str) -> None:
        """Hang up."""
        await self._web.rest(task_id)

    async def forget(self, task_id: str) -> None:
        """Hang up."""
        await self._web.forget(task_id)


class _Page(HTMLParser):
    """The addresses of what is shown in the article."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Pictures, and videos with their sources."""
        source = dict(attrs).get("src")
        if tag in ("img", "video", "source") and source and source not in self.files:
            self.files.append(source)


def _target(page: str, source: str) -> str:
    """What a picture's source means on a page; "" if no browser would fetch it either, as `data:`."""
    try:
        target = urljoin(page, source.strip())
    except ValueError:
        return ""
    return target if target.startswith(("http://", "https://")) else ""


def _extension(url: str) -> str:
    name = name_of(url) if urlsplit(url).path else ""
    extension = name.rpartition(".")[2] if "." in name else ""
    return f".{extension}" if extension else ""
