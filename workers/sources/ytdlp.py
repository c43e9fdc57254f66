"""Videos of the many sites that yt-dlp knows, by that program.

Resolving asks for titles only. A video is fetched, merged and recoded in a folder of this machine when its
turn comes, goes from there into the storage, and is removed before the next one. A try that follows goes on
with what is there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from saveany.errors import Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.names import safe_name
from saveany.planning.plan import Found
from storages.base import Range
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.process import find, run

_MOST_ENTRIES = 10_000
_FIELDS = "id,title,url,ie_key,playlist_title,playlist_count,playlist_index,playlist_autonumber"
#: Always: nothing of this machine's own settings, nothing that runs or writes elsewhere.
_FIXED = (
    "--ignore-config",
    "--no-plugin-dirs",
    "--no-cache-dir",
    "--no-colors",
    "--no-mtime",
    "--socket-timeout=30",
    "--retries=3",
)
_HEIGHTS = {"1080p": 1080, "720p": 720, "480p": 480}


class YtDlpSource(Source):
    """`ytdlp`: each video is a file, a playlist a folder of them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.ytdlp
        self._fetched: dict[str, Path] = {}  # task: the folder of the file that it has fetched last

    @property
    def problem(self) -> str:
        """That the program is missing."""
        if find(self._table.program):
            return ""
        return f"{self._table.program} is not installed; pip install saveany[ytdlp]"

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """The videos of every link. A link without any stays, to fail with its reason when its turn comes."""
        found = []
        for number, link in enumerate(spec.links):
            folder = self._tools.scratch / spec.id / f"list-{number}"
            try:
                found += await self._entries(spec, link, folder)
            except Permanent:
                found.append(Found(safe_name(link.rpartition("/")[2]), None, {"url": link}))
        return found

    async def _entries(self, spec: TaskSpec, link: str, folder: Path) -> list[Found]:
        entries: list[dict[str, Any]] = []

        def line(text: str) -> None:
            entries.append(msgspec.json.decode(text))
            if len(entries) > _MOST_ENTRIES:
                raise Permanent(f"the playlist has more than {_MOST_ENTRIES} videos")

        template = f"video:%(.{{{_FIELDS}}})j"
        await self._run(spec, folder, ["--flat-playlist", "--simulate", f"--print={template}"], link, line)
        if not entries:
            raise Permanent("there is no video behind this link")
        return [_found(link, entry, len(entries)) for entry in entries]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """Fetch the video to this machine, whole and in its last form."""
        folder = self._tools.scratch / spec.id / str(item.index)
        await self._make_room(spec.id, folder)
        file = await asyncio.to_thread(_kept, folder)
        if file is None:
            file = await self._download(item, spec, folder, report)
        there = file.stat()
        source = item.source | {"file": str(file), "written": there.st_mtime_ns}
        name = safe_name(item.name.removesuffix(file.suffix) + file.suffix)
        return replace(item, name=name, size=there.st_size, source=source)

    async def _download(self, item: Item, spec: TaskSpec, folder: Path, report: Report) -> Path:
        files: list[str] = []

        def line(text: str) -> None:
            what, _, rest = text.partition(" ")
            if what == "FILE":
                files.append(rest)
            elif what == "BYTES":
                done, _, total = rest.partition(" ")
                report(_number(done) or 0, _number(total))

        options = [
            "--newline",
            "--progress",
            "--no-simulate",
            "--continue",
            "--output=media.%(ext)s",
            "--print=after_move:FILE %(filepath)s",
            "--progress-template=download:BYTES %(progress.downloaded_bytes)s %(progress.total_bytes)s",
            *self._form(spec),
        ]
        if number := item.source.get("number"):
            options.append(f"--playlist-items={number}")
        await self._run(spec, folder, options, item.source["url"], line)
        if len(files) != 1:
            raise Permanent(f"yt-dlp gave {len(files)} files for this link; one was expected")
        (folder / "saved").write_text(files[0])
        return Path(files[0])

    def _form(self, spec: TaskSpec) -> list[str]:
        """Which of a video's forms to take: as the task says, else as configured."""
        preset, table = spec.params.get("preset"), self._table
        if preset == "audio":
            return ["--format=ba/b", "--extract-audio"]
        height = _HEIGHTS.get(preset or "", 0 if preset else table.max_height)
        form = [f"--recode-video={table.recode}"] if table.recode else []
        if not preset and table.format:
            return [f"--format={table.format}", *form]
        if height:
            return [f"--format=bv*[height<={height}]+ba/b[height<={height}]/b", *form]
        return form

    async def _run(
        self, spec: TaskSpec, folder: Path, options: Sequence[str], link: str, on_line: Any
    ) -> None:
        program = find(self._table.program)
        if program is None:
            raise Permanent(self.problem)
        single = [] if spec.params.get("playlist", True) else ["--no-playlist", "--playlist-items=1"]
        cookies = await asyncio.to_thread(self._cookies, spec.user_id, folder)
        # The task's own flags come last: the last one counts.
        given = [*_FIXED, *cookies, *single, *options, *spec.params.get("flags", ())]
        await run(
            [program, *given, "--", link],
            folder=folder,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=on_line,
        )

    def _cookies(self, user_id: int, folder: Path) -> list[str]:
        """The user's own cookies, as a copy: the program writes into that file."""
        file = self._tools.config.data_dir / "cookies" / f"{user_id}.txt"
        if not file.is_file():
            return []
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / "cookies.txt"
        copy.touch(mode=0o600)
        shutil.copyfile(file, copy)
        return [f"--cookies={copy}"]

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """The file, from this machine's disk."""
        path = Path(item.source["file"])
        await disk.copy(path, item.size or 0, write, have)
        self._fetched[self._task_of(path)] = path.parent

    def _task_of(self, path: Path) -> str:
        return path.relative_to(self._tools.scratch).parts[0]

    async def _make_room(self, task_id: str, folder: Path) -> None:
        """The video before this one is in the storage by now."""
        last = self._fetched.pop(task_id, None)
        if last and last != folder:
            await asyncio.to_thread(shutil.rmtree, last, ignore_errors=True)

    async def forget(self, task_id: str) -> None:
        """Remove its folder."""
        self._fetched.pop(task_id, None)
        await asyncio.to_thread(shutil.rmtree, self._tools.scratch / task_id, ignore_errors=True)


def _found(link: str, entry: dict[str, Any], count: int) -> Found:
    name = safe_name(str(entry.get("title") or entry.get("id") or link.rpartition("/")[2]))
    folder = safe_name(str(entry["playlist_title"])) if count > 1 and entry.get("playlist_title") else ""
    if entry.get("ie_key"):  # an entry that is a page of its own
        return Found(name, None, {"url": entry["url"]}, folder)
    number = entry.get("playlist_index") or entry.get("playlist_autonumber")
    return Found(name, None, {"url": link, "number": number} if number else {"url": link}, folder)


def _kept(folder: Path) -> Path | None:
    """What an earlier try has fetched whole."""
    try:
        file = Path((folder / "saved").read_text())
    except FileNotFoundError:
        return None
    return file if file.is_file() else None


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
