"""Pictures and files of the hundreds of sites that gallery-dl knows: it finds them, we fetch them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from saveany.errors import Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import Found
from storages.base import Range
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.directlinks import DirectLinksSource
from workers.sources.process import failure, find, run

_MOST_CHARACTERS = 64 << 20
_FILE = 3  # gallery-dl's number of a message with a URL of a file
_ERROR = -1


class GallerySource(Source):
    """`parseditem`: the files of a post, album or gallery; several in a folder called like it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._program = tools.config.gallery.program
        self._web = DirectLinksSource(tools)

    @property
    def problem(self) -> str:
        """That the program is missing."""
        if find(self._program):
            return ""
        return f"{self._program} is not installed; pip install saveany[gallery]"

    async def close(self) -> None:
        """Hang up."""
        await self._web.close()

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """The files of the page, with what their servers want to see."""
        program = find(self._program)
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
        refused = await run(
            [program, *options, "--", *spec.links],
            folder=self._tools.scratch / spec.id,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=line,
        )
        files = _files(said.getvalue(), refused)
        return [_found(spec.links[0], url, about, several=len(files) > 1) for url, about in files]

    def _cookies(self, user_id: int) -> list[str]:
        file = self._tools.config.data_dir / "cookies" / f"{user_id}.txt"
        return [f"extractor.cookies={msgspec.json.encode(str(file)).decode()}"] if file.is_file() else []

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As with every file of the web, but the name is gallery-dl's."""
        ready = await self._web.prepare(item, spec, report)
        return ready if "." not in item.name else replace(ready, name=item.name)

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As with every file of the web."""
        await self._web.fetch(item, write, have)

    async def forget(self, task_id: str) -> None:
        """Remove the folder the program ran in."""
        await self._web.forget(task_id)


def _files(said: str, refused: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """URL and metadata of each file that gallery-dl has found."""
    files = []
    for kind, *rest in msgspec.json.decode(said or "[]"):
        if kind == _ERROR:
            if refused:
                raise Permanent(refused[-1])
            raise failure("gallery-dl", str(rest[0].get("message") or rest[0].get("error")).strip())
        if kind == _FILE and rest[0].startswith(("http://", "https://")):
            files.append((rest[0], rest[1]))
    if not files:
        raise Permanent("gallery-dl finds no files behind this link")
    return files


def _found(link: str, url: str, about: dict[str, Any], *, several: bool) -> Found:
    stem, extension = str(about.get("filename") or ""), str(about.get("extension") or "")
    name = safe_name(f"{stem}.{extension}" if extension else stem or url.rpartition("/")[2])
    headers = {"Referer": link, **_headers(about)}
    return Found(name, None, {"url": url, "headers": headers}, _title(about) if several else "")


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
