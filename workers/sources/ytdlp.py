"""Videos of the many sites that yt-dlp knows, by that program.

Resolving asks for titles only. A video is fetched, merged and recoded in a folder of this machine when its
turn comes, goes from there into the storage, and is removed before the next one. A try that follows goes on
with what is there.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from saveany.allowed import WHICH_VIDEOS
from saveany.errors import Offline, Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.net.proxy import Take
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import find_program
from storages.base import Range
from workers import stall
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.process import OnLine, clear, cookies, run

T = TypeVar("T")

_MOST_ENTRIES = 10_000
_FIELDS = "id,title,url,ie_key,playlist_title,playlist_count,playlist_index,playlist_autonumber"
#: An entry of this kind is a list itself, as the tabs of a channel are.
_LIST = re.compile(
    r"(Tab|Playlist|Channel|User|Set|Album|Series|Season|Show|Collection|Group|List|Artist|Profile|Videos)$"
)
#: What yt-dlp fetches by itself, or has ffmpeg fetch, through our proxy. With RTMP, RTSP and FTP ffmpeg would
#: connect directly, to wherever a page says.
_GUARDED = (
    r"^((https?|m3u8(_native)?|http_dash_segments(_generator)?|ism|f4m|mhtml|bunnycdn|soopvod)(\+|$))+$"
)
_REJECTED = 101  # https://github.com/yt-dlp/yt-dlp#general-options: stopped by --break-match-filters
#: Always: nothing of this machine's own settings, nothing that runs or writes elsewhere, no file with holes.
_FIXED = (
    "--ignore-config",
    "--no-plugin-dirs",
    "--no-cache-dir",
    "--compat-options=no-certifi",  # but the certificates that are trusted here
    "--no-colors",
    "--no-warnings",
    "--no-mtime",
    "--abort-on-unavailable-fragments",
    "--socket-timeout=30",
    "--retries=3",
)
_SAVED = "saved.json"
_HEIGHTS = {"1080p": 1080, "720p": 720, "480p": 480}


class YtDlpSource(Source):
    """`ytdlp`: each video is a file, a playlist a folder of them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.ytdlp
        self._scratch = tools.scratch.absolute()  # the program has a working directory of its own
        self._fetched: dict[str, Path] = {}  # task: the folder of the file that it has fetched last

    @property
    def problem(self) -> str:
        """That the program is missing."""
        if find_program(self._table.program):
            return ""
        return f"{self._table.program} is not installed; pip install yt-dlp"

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The videos of every link. One without any stays, to fail with its reason when its turn comes. So
        does one of several whose server is away: the others need not wait for it. Without a way out they
        do."""
        found = []
        for number, link in enumerate(spec.links):
            folder = self._scratch / spec.id / f"list-{number}"
            try:
                found += await self._entries(spec, link, folder)
            except (Permanent, Retryable) as error:
                if isinstance(error, Offline) or (isinstance(error, Retryable) and len(spec.links) == 1):
                    raise
                found.append(
                    ResolvedFile(safe_name(link.rpartition("/")[2]), None, {"url": link, "untitled": True})
                )
        return found

    async def _entries(self, spec: TaskSpec, link: str, folder: Path) -> list[ResolvedFile]:
        """The videos of a link, and those of the lists among them."""
        entries = await self._listed(spec, link, folder)
        found = []
        for entry in entries:
            found += await self._inner(spec, entry, folder) or [_found(link, entry, len(entries))]
            _check_length(found)
        return found

    async def _inner(self, spec: TaskSpec, entry: dict[str, Any], folder: Path) -> list[ResolvedFile]:
        """The videos of an entry that is a list; nothing for a video, and for a list that leads nowhere."""
        if not (_is_page(entry) and _LIST.search(entry["ie_key"])):
            return []
        try:
            inner = await self._listed(spec, entry["url"], folder)
        except Permanent:
            return []
        return [_found(entry["url"], each, len(inner)) for each in inner]

    async def _listed(self, spec: TaskSpec, link: str, folder: Path) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []

        def line(text: str) -> None:
            entries.append(_decoded(text, dict[str, Any]))
            _check_length(entries)

        template = f"video:%(.{{{_FIELDS}}})j"
        options = ["--flat-playlist", "--simulate", f"--print={template}", *spec.params.get("flags", ())]
        await self._run(spec, folder, options, link, line)
        if not entries:
            raise Permanent("there is no video behind this link, or none that the flags let through")
        return entries

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """Fetch the video to this machine, whole and in its last form."""
        folder = self._scratch / spec.id / str(item.index)
        await self._make_room(spec.id, folder)
        saved = await asyncio.to_thread(_kept, folder)
        if saved is None:
            saved = await self._download(item, spec, folder, report)
        file = Path(saved.filepath)
        there = await asyncio.to_thread(file.stat)
        name = safe_name(saved.title) if saved.title and item.source.get("untitled") else item.name
        return replace(
            item,
            name=safe_name(name.removesuffix(file.suffix) + file.suffix),
            size=there.st_size,
            source=item.source | {"file": str(file), "written": there.st_mtime_ns},
        )

    async def _download(self, item: Item, spec: TaskSpec, folder: Path, report: Report) -> _Saved:
        told = _Output(report)
        number = item.source.get("number")
        options = [
            "--newline",
            "--progress",
            "--no-simulate",
            "--continue",
            "--output=media.%(ext)s",
            f"--break-match-filters=protocol~={_GUARDED}",
            "--print=after_move:FILE %(.{filepath,title})j",
            "--progress-template=download:BYTES %(progress.downloaded_bytes)s %(progress.total_bytes)s",
            *self._form(spec),
            f"--playlist-items={number}" if number else "--no-playlist",
            *(flag for flag in spec.params.get("flags", ()) if flag.partition("=")[0] not in WHICH_VIDEOS),
        ]

        async def take(size: int) -> None:
            with told.held_back():
                await self._tools.take(spec.user_id, size)

        await self._run(spec, folder, options, item.source["url"], told.line, take)
        if told.saved is None:
            raise Permanent("yt-dlp took nothing: the video is not what the flags ask for")
        if not await asyncio.to_thread(told.saved.inside, folder):
            raise Permanent("yt-dlp put the video outside its folder")
        (folder / _SAVED).write_bytes(msgspec.json.encode(told.saved))
        return told.saved

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
        self,
        spec: TaskSpec,
        folder: Path,
        options: Sequence[str],
        link: str,
        on_line: OnLine,
        take: Take | None = None,
    ) -> None:
        program = find_program(self._table.program)
        if program is None:
            raise Permanent(self.problem)
        single = [] if spec.params.get("playlist", True) else ["--no-playlist", "--playlist-items=1"]
        jar = await asyncio.to_thread(self._cookies, spec.user_id, folder)
        await run(
            [program, *_FIXED, *jar, *single, *options, "--", link],
            folder=folder,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=on_line,
            meanings={_REJECTED: "the video comes by a protocol that cannot be guarded, such as RTMP"},
            take=take,
        )

    def _cookies(self, user_id: int, folder: Path) -> list[str]:
        """The user's own cookies, as a copy: the program writes into that file."""
        file = cookies(self._tools.config.data_dir, user_id)
        if file is None:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / "cookies.txt"
        copy.touch(mode=0o600)
        shutil.copyfile(file, copy)
        return [f"--cookies={copy}"]

    @property
    def is_local(self) -> bool:
        """As in the contract."""
        return True

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """The file, from this machine's disk."""
        path = Path(item.source["file"])
        await disk.copy(path, item.size or 0, write, have)
        self._fetched[self._task_of(path)] = path.parent

    def _task_of(self, path: Path) -> str:
        return path.relative_to(self._scratch).parts[0]

    async def _make_room(self, task_id: str, folder: Path) -> None:
        """The video before this one is in the storage by now."""
        last = self._fetched.pop(task_id, None)
        if last and last != folder:
            await asyncio.to_thread(shutil.rmtree, last, ignore_errors=True)

    async def forget(self, task_id: str) -> None:
        """Remove its folder."""
        self._fetched.pop(task_id, None)
        await clear(self._scratch / task_id)

    async def kept(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)


class _Saved(msgspec.Struct):
    """A video that is here, whole. Kept beside it."""

    filepath: str
    title: str | None = None

    def inside(self, folder: Path) -> bool:
        """Whether it lies in a folder."""
        return Path(self.filepath).resolve().is_relative_to(folder.resolve())


class _Output:
    """What yt-dlp says while it fetches a video."""

    def __init__(self, report: Report) -> None:
        self.saved: _Saved | None = None
        self._report = report
        self._pace = stall.ProgramStallDetector()
        self._before = self._last = 0  # bytes of the parts before (the picture), and of this one (the sound)

    def held_back(self) -> AbstractContextManager[None]:
        """It gets nothing until the block ends, and is not slow by that."""
        return self._pace.held_back()

    def line(self, text: str) -> None:
        """Take a line of its output."""
        what, _, rest = text.partition(" ")
        if what == "FILE":
            if self.saved:
                raise Permanent("several videos are behind this link; give the links of the single ones")
            self.saved = _decoded(rest, _Saved)
        elif what == "BYTES":
            done, _, total = rest.partition(" ")
            self._bytes(_number(done) or 0, _number(total))

    def _bytes(self, done: int, total: int | None) -> None:
        if done < self._last:
            self._before += self._last
        self._last = done
        self._pace.report(self._before + done)
        self._report(self._before + done, self._before + total if total else None)


def _check_length(found: Sequence[object]) -> None:
    if len(found) > _MOST_ENTRIES:
        raise Permanent(f"the playlist has more than {_MOST_ENTRIES} videos")


def _decoded(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Permanent("yt-dlp says something that SaveAny does not understand; update both") from error


def _is_page(entry: dict[str, Any]) -> bool:
    """Whether an entry of a playlist is a page of its own. Some sites give just its number there."""
    return bool(entry.get("ie_key")) and str(entry.get("url")).startswith(("http://", "https://"))


def _found(link: str, entry: dict[str, Any], count: int) -> ResolvedFile:
    title = entry.get("title")
    name = safe_name(str(title or entry.get("id") or link.rpartition("/")[2]))
    folder = safe_name(str(entry["playlist_title"])) if count > 1 and entry.get("playlist_title") else ""
    source = {} if title else {"untitled": True}
    if _is_page(entry):
        return ResolvedFile(name, None, source | {"url": entry["url"]}, folder)
    if number := entry.get("playlist_index") or entry.get("playlist_autonumber"):
        source |= {"number": number}
    return ResolvedFile(name, None, source | {"url": link}, folder)


def _kept(folder: Path) -> _Saved | None:
    """What an earlier try has fetched whole."""
    try:
        saved = msgspec.json.decode((folder / _SAVED).read_bytes(), type=_Saved)
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # it died before, or while, it was written
    return saved if Path(saved.filepath).is_file() else None


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
