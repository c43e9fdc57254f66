"""Pictures and files of the hundreds of sites that gallery-dl knows: it finds them, we fetch them."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Sequence
from http.cookiejar import LoadError, MozillaCookieJar
from typing import Any
from urllib.request import Request

import msgspec
from msgspec.structs import replace

from saveany.errors import Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import find_program
from storages.base import Range
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.directlinks import DirectLinksSource, name_of
from workers.sources.process import WayOut, clear, cookies, failure, run

_MOST_CHARACTERS = 64 << 20
_FILE = 3  # gallery-dl's number of a message with a URL of a file
_ERROR = -1
_FOR_YTDLP = "ytdl:"  # before the URL of a page, where a file should be


class GallerySource(Source):
    """`parseditem`: the files of a post, album or gallery; several in a folder called like it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._program = tools.config.gallery.program
        self._scratch = tools.scratch.absolute()  # the program has a working directory of its own
        self._web = DirectLinksSource(tools)

    @property
    def ahead(self) -> int:
        """As `directlinks`, which fetches."""
        return self._web.ahead

    @property
    def problem(self) -> str:
        """That the program is missing."""
        if find_program(self._program):
            return ""
        return f"{self._program} is not installed; pip install gallery-dl"

    async def close(self) -> None:
        """Hang up."""
        await self._web.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of the page, with what their servers want to see."""
        program = find_program(self._program)
        if program is None:
            raise Permanent(self.problem)
        said = io.StringIO()

        def line(text: str) -> None:
            if said.write(text) and said.tell() > _MOST_CHARACTERS:
                raise Permanent("the gallery is too large; give the links of parts of it")

        options = ["--config-ignore", "--no-colors", "--no-input", "--resolve-json"]
        settings = ["output.private=true", "extractor.cookies-update=false"]
        for setting in [*settings, *self._cookies(spec.user_id)]:
            options += ["--option", setting]
        out = await run(
            [program, *options, "--", *spec.links],
            folder=self._scratch / spec.id,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=line,
        )
        files = _files(said.getvalue(), out)
        return [_found(spec, url, about, several=len(files) > 1) for url, about in files]

    def _cookies(self, user_id: int) -> list[str]:
        file = cookies(self._tools.config.data_dir, user_id)
        return [f"extractor.cookies={msgspec.json.encode(str(file)).decode()}"] if file else []

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As with every file of the web, but the name is gallery-dl's."""
        if item.source["url"].startswith(_FOR_YTDLP):
            page = item.source["url"].removeprefix(_FOR_YTDLP)
            raise Permanent(f"only yt-dlp can fetch this video; make a task of type ytdlp for {page}")
        pages = item.name.lower().endswith((".html", ".htm"))
        ready = await self._web.prepare(await self._logged_in(item), spec, report, pages=pages)
        name = ready.name if "." not in item.name else item.name
        return replace(ready, name=name, source=ready.source | {"headers": item.source["headers"]})

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As with every file of the web."""
        await self._web.fetch(await self._logged_in(item), write, have)

    async def _logged_in(self, item: Item) -> Item:
        """The item with the user's cookies for its server. They are not recorded with it."""
        cookie = await asyncio.to_thread(self._cookie, item.source["user"], item.source["url"])
        headers = item.source["headers"] | ({"Cookie": cookie} if cookie else {})
        return replace(item, source=item.source | {"headers": headers})

    def _cookie(self, user_id: int, url: str) -> str | None:
        file = cookies(self._tools.config.data_dir, user_id)
        if file is None:
            return None
        jar, request = MozillaCookieJar(file), Request(url)  # noqa: S310  # it is not opened
        try:
            jar.load(ignore_discard=True, ignore_expires=True)
        except LoadError as error:
            raise Permanent(f"cookies/{file.name} in data_dir is not a cookies.txt (Netscape)") from error
        for cookie in jar:
            cookie.expires = cookie.expires or None  # 0 stands for the end of a browser's session there
        jar.add_cookie_header(request)  # those that have expired are left out
        return request.get_header("Cookie")

    async def rest(self, task_id: str) -> None:
        """Hang up."""
        await self._web.rest(task_id)

    async def forget(self, task_id: str) -> None:
        """Hang up, and remove the folder the program ran in."""
        await self._web.forget(task_id)
        await clear(self._scratch / task_id)

    async def kept(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)


def _files(said: str, out: WayOut) -> list[tuple[str, dict[str, Any]]]:
    """URL and metadata of each file that gallery-dl has found."""
    files = []
    for kind, *rest in _messages(said):
        if kind == _ERROR:
            out.check("gallery-dl")
            raise failure("gallery-dl", str(rest[0].get("message") or rest[0].get("error")).strip())
        if kind == _FILE and rest[0].startswith(("http://", "https://", _FOR_YTDLP)):
            files.append((rest[0], rest[1]))
    if not files:
        raise Permanent("gallery-dl finds no files behind this link")
    return files


def _messages(said: str) -> list[list[Any]]:
    try:
        return msgspec.json.decode(said or "[]", type=list[list[Any]])
    except msgspec.DecodeError as error:
        raise Permanent("gallery-dl says something that SaveAny does not understand; update both") from error


def _found(spec: TaskSpec, url: str, about: dict[str, Any], *, several: bool) -> ResolvedFile:
    stem, extension = str(about.get("filename") or ""), str(about.get("extension") or "")
    name = safe_name(f"{stem}.{extension}" if extension else stem or name_of(url))
    headers = {"Referer": spec.links[0], **_headers(about)}
    source = {"url": url, "headers": headers, "user": spec.user_id}
    return ResolvedFile(name, None, source, _title(about) if several else "")


def _headers(about: dict[str, Any]) -> dict[str, str]:
    given = about.get("_http_headers")
    if not isinstance(given, dict):
        return {}
    # What are bytes over there comes as b'…'.
    return {str(key): re.sub(r"^b'(.*)'$", r"\1", str(value)) for key, value in given.items()}


def _title(about: dict[str, Any]) -> str:
    """What a person would call the post or album."""
    site = str(about.get("category") or "gallery")
    named = (about.get(key) for key in ("title", "album", "gallery_id", "post_id", "tweet_id", "id"))
    return safe_name(next((str(each) for each in named if each), site))
