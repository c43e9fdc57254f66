"""Pictures and files of the hundreds of sites that gallery-dl supports: it finds them, we download them."""

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
from saveany.programs import find_program, is_installed
from saveany.texts import Text
from storages.base import Range
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.directlinks import DirectLinksSource
from workers.sources.http_response import name_of
from workers.sources.process import ProxyReport, cookies_file, failure, remove_folder, run

#: Maximum length of gallery-dl's output.
_MAX_CHARACTERS = 64 << 20
#: Types of gallery-dl's messages: the URL of a file, and an error.
_FILE, _ERROR = 3, -1
#: Prefix of the URL of a page whose video only yt-dlp can download.
_YTDLP_PREFIX = "ytdl:"


class GallerySource(Source):
    """`parseditem`: the files of a post, album or gallery; several files in a folder with its title."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._program = tools.config.gallery.program
        self._scratch = tools.scratch.absolute()  # the program runs in another working directory
        self._direct_links = DirectLinksSource(tools)

    @property
    def read_ahead(self) -> int:
        """As for `directlinks`, which fetches the files."""
        return self._direct_links.read_ahead

    @property
    def problem(self) -> Text | None:
        """That the program is missing, None if it is not."""
        return None if is_installed(self._program) else self._missing()

    def _missing(self) -> Text:
        return Text("{program} is not installed; pip install gallery-dl", {"program": self._program})

    async def close(self) -> None:
        """Close all connections."""
        await self._direct_links.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of the page, with the headers that their servers require."""
        program = find_program(self._program)
        if program is None:
            raise Permanent(self._missing())
        output = io.StringIO()

        def read_line(line: str) -> None:
            if output.write(line) and output.tell() > _MAX_CHARACTERS:
                raise Permanent("the gallery is too large; send links to parts of it")

        options = ["--config-ignore", "--no-colors", "--no-input", "--resolve-json"]
        settings = ["output.private=true", "extractor.cookies-update=false"]
        for setting in [*settings, *self._cookie_settings(spec.user_id)]:
            options += ["--option", setting]
        report = await run(
            [program, *options, "--", *spec.links],
            folder=self._scratch / spec.id,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=read_line,
        )
        files = _files(output.getvalue(), report)
        return [_resolved_file(spec, url, metadata, several=len(files) > 1) for url, metadata in files]

    def _cookie_settings(self, user_id: int) -> list[str]:
        file = cookies_file(self._tools.config.data_dir, user_id)
        return [f"extractor.cookies={msgspec.json.encode(str(file)).decode()}"] if file else []

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As for `directlinks`, but with gallery-dl's name."""
        if item.source["url"].startswith(_YTDLP_PREFIX):
            page = item.source["url"].removeprefix(_YTDLP_PREFIX)
            raise Permanent(
                "only yt-dlp can download this video; create a task of type ytdlp for {url}", url=page
            )
        pages = item.name.lower().endswith((".html", ".htm"))
        ready = await self._direct_links.prepare(await self._with_cookies(item), spec, report, pages=pages)
        name = ready.name if "." not in item.name else item.name
        return replace(ready, name=name, source=ready.source | {"headers": item.source["headers"]})

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As for `directlinks`."""
        await self._direct_links.fetch(await self._with_cookies(item), write, have)

    async def _with_cookies(self, item: Item) -> Item:
        """The item with the user's cookies for its server. They are secrets, so they are never recorded."""
        cookie = await asyncio.to_thread(self._cookie_header, item.source["user"], item.source["url"])
        headers = item.source["headers"] | ({"Cookie": cookie} if cookie else {})
        return replace(item, source=item.source | {"headers": headers})

    def _cookie_header(self, user_id: int, url: str) -> str | None:
        file = cookies_file(self._tools.config.data_dir, user_id)
        if file is None:
            return None
        jar, request = MozillaCookieJar(file), Request(url)  # noqa: S310  # it is never sent
        try:
            jar.load(ignore_discard=True, ignore_expires=True)
        except LoadError as error:
            raise Permanent(
                "cookies/{file} in data_dir is not a cookies.txt in Netscape format", file=file.name
            ) from error
        for cookie in jar:
            cookie.expires = cookie.expires or None  # in this format 0 means the end of a browser session
        jar.add_cookie_header(request)  # omits expired cookies
        return request.get_header("Cookie")

    async def stop(self, task_id: str) -> None:
        """Close the task's connections."""
        await self._direct_links.stop(task_id)

    async def forget(self, task_id: str) -> None:
        """Close the task's connections, and remove the folder in which the program ran."""
        await self._direct_links.forget(task_id)
        await remove_folder(self._scratch / task_id)

    async def kept_tasks(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)


def _files(output: str, report: ProxyReport) -> list[tuple[str, dict[str, Any]]]:
    """URL and metadata of each file that gallery-dl has found."""
    files = []
    for kind, *rest in _messages(output):
        if kind == _ERROR:
            report.check("gallery-dl")
            raise failure("gallery-dl", str(rest[0].get("message") or rest[0].get("error")).strip())
        if kind == _FILE and rest[0].startswith(("http://", "https://", _YTDLP_PREFIX)):
            files.append((rest[0], rest[1]))
    if not files:
        raise Permanent("gallery-dl found no files at this link")
    return files


def _messages(output: str) -> list[list[Any]]:
    try:
        return msgspec.json.decode(output or "[]", type=list[list[Any]])
    except msgspec.DecodeError as error:
        raise Permanent("SaveAny does not understand the output of gallery-dl; update both") from error


def _resolved_file(spec: TaskSpec, url: str, metadata: dict[str, Any], *, several: bool) -> ResolvedFile:
    stem, extension = str(metadata.get("filename") or ""), str(metadata.get("extension") or "")
    name = safe_name(f"{stem}.{extension}" if extension else stem or name_of(url))
    headers = {"Referer": spec.links[0], **_headers(metadata)}
    source = {"url": url, "headers": headers, "user": spec.user_id}
    return ResolvedFile(name, None, source, _title(metadata) if several else "")


def _headers(metadata: dict[str, Any]) -> dict[str, str]:
    headers = metadata.get("_http_headers")
    if not isinstance(headers, dict):
        return {}
    # gallery-dl writes values of type bytes as b'…'.
    return {str(key): re.sub(r"^b'(.*)'$", r"\1", str(value)) for key, value in headers.items()}


def _title(metadata: dict[str, Any]) -> str:
    """The title of the post or album, as a folder name."""
    site = str(metadata.get("category") or "gallery")
    titles = (metadata.get(key) for key in ("title", "album", "gallery_id", "post_id", "tweet_id", "id"))
    return safe_name(next((str(title) for title in titles if title), site))
