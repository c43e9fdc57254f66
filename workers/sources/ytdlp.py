"""Videos of the many sites that yt-dlp supports, by that program.

Resolving finds titles only. When the turn of a video comes, it is downloaded, merged and recoded in a folder
on this machine, copied from there into the storage, and removed before the next one begins. A later attempt
continues with the files in the folder.
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

from saveany.allowed import PLAYLIST_FLAGS
from saveany.errors import Offline, Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.net.proxy import Take
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import find_program, is_installed
from saveany.texts import Text
from storages.base import Range
from workers import stall
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.process import OnLine, cookies_file, remove_folder, run

T = TypeVar("T")

_MAX_VIDEOS = 10_000
_FIELDS = "id,title,url,ie_key,playlist_title,playlist_count,playlist_index,playlist_autonumber"
#: Extractors (`ie_key`) of playlist entries that are playlists themselves, such as the tabs of a channel.
_LIST = re.compile(
    r"(Tab|Playlist|Channel|User|Set|Album|Series|Season|Show|Collection|Group|List|Artist|Profile|Videos)$"
)
#: Protocols that yt-dlp, or ffmpeg for it, downloads through our proxy. For RTMP, RTSP and FTP ffmpeg would
#: connect directly to any address that a page names.
_GUARDED = (
    r"^((https?|m3u8(_native)?|http_dash_segments(_generator)?|ism|f4m|mhtml|bunnycdn|soopvod)(\+|$))+$"
)
#: Exit code after --break-match-filters, see https://github.com/yt-dlp/yt-dlp#general-options.
_REJECTED = 101
#: Options for every call: ignore the settings of this machine, write nowhere else, accept no incomplete file.
_FIXED = (
    "--ignore-config",
    "--no-plugin-dirs",
    "--no-cache-dir",
    "--compat-options=no-certifi",  # use the certificates that this machine trusts
    "--no-colors",
    "--no-warnings",
    "--no-mtime",
    "--abort-on-unavailable-fragments",
    "--socket-timeout=30",
    "--retries=3",
)
#: The file beside a complete video that describes it (`_SavedVideo`).
_SAVED = "saved.json"
_HEIGHTS = {"1080p": 1080, "720p": 720, "480p": 480}


class YtDlpSource(Source):
    """`ytdlp`: one file for each video, one folder for each playlist."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.ytdlp
        self._scratch = tools.scratch.absolute()  # the program runs in another working directory
        self._last_folder: dict[str, Path] = {}  # by task: the folder of the video that was copied last

    @property
    def problem(self) -> Text | None:
        """That the program is missing, None if it is not."""
        return None if is_installed(self._table.program) else self._missing()

    def _missing(self) -> Text:
        return Text("{program} is not installed; pip install yt-dlp", {"program": self._table.program})

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The videos of every link. A link without videos becomes a file that fails with the reason when its
        turn comes. So does one of several links whose server is down, so that the others need not wait. If
        the network is down, all of them wait."""
        found = []
        for number, link in enumerate(spec.links):
            folder = self._scratch / spec.id / f"list-{number}"
            try:
                found += await self._videos(spec, link, folder)
            except (Permanent, Retryable) as error:
                if isinstance(error, Offline) or (isinstance(error, Retryable) and len(spec.links) == 1):
                    raise
                found.append(
                    ResolvedFile(safe_name(link.rpartition("/")[2]), None, {"url": link, "untitled": True})
                )
        return found

    async def _videos(self, spec: TaskSpec, link: str, folder: Path) -> list[ResolvedFile]:
        """The videos of a link, including those of playlists in a playlist."""
        entries = await self._entries(spec, link, folder)
        found = []
        for entry in entries:
            found += await self._inner(spec, entry, folder) or [_resolved_file(link, entry, len(entries))]
            _check_length(found)
        return found

    async def _inner(self, spec: TaskSpec, entry: dict[str, Any], folder: Path) -> list[ResolvedFile]:
        """The videos of an entry that is a playlist; none for a video, and for an empty playlist."""
        if not (_is_page(entry) and _LIST.search(entry["ie_key"])):
            return []
        try:
            inner = await self._entries(spec, entry["url"], folder)
        except Permanent:
            return []
        return [_resolved_file(entry["url"], video, len(inner)) for video in inner]

    async def _entries(self, spec: TaskSpec, link: str, folder: Path) -> list[dict[str, Any]]:
        """The description of each video or playlist behind a link, as yt-dlp prints it."""
        entries: list[dict[str, Any]] = []

        def read_line(line: str) -> None:
            entries.append(_decoded(line, dict[str, Any]))
            _check_length(entries)

        template = f"video:%(.{{{_FIELDS}}})j"
        options = ["--flat-playlist", "--simulate", f"--print={template}", *spec.params.get("flags", ())]
        await self._run(spec, folder, options, link, read_line)
        if not entries:
            raise Permanent("this link leads to no video, or to none that the flags select")
        return entries

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item, after its video was downloaded to this machine, merged and recoded."""
        folder = self._scratch / spec.id / str(item.index)
        await self._remove_last(spec.id, folder)
        saved = await asyncio.to_thread(_complete_video, folder)
        if saved is None:
            saved = await self._download(item, spec, folder, report)
        file = Path(saved.filepath)
        stat = await asyncio.to_thread(file.stat)
        name = safe_name(saved.title) if saved.title and item.source.get("untitled") else item.name
        return replace(
            item,
            name=safe_name(name.removesuffix(file.suffix) + file.suffix),
            size=stat.st_size,
            source=item.source | {"file": str(file), "written": stat.st_mtime_ns},
        )

    async def _download(self, item: Item, spec: TaskSpec, folder: Path, report: Report) -> _SavedVideo:
        output = _OutputReader(report)
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
            *self._format_options(spec),
            f"--playlist-items={number}" if number else "--no-playlist",
            *(flag for flag in spec.params.get("flags", ()) if flag.partition("=")[0] not in PLAYLIST_FLAGS),
        ]

        async def take(size: int) -> None:
            with output.paused():
                await self._tools.take(spec.user_id, size)

        await self._run(spec, folder, options, item.source["url"], output.read_line, take)
        if output.saved is None:
            raise Permanent("yt-dlp downloaded nothing, because the flags do not select this video")
        if not await asyncio.to_thread(output.saved.is_inside, folder):
            raise Permanent("yt-dlp wrote the video outside its folder")
        (folder / _SAVED).write_bytes(msgspec.json.encode(output.saved))
        return output.saved

    def _format_options(self, spec: TaskSpec) -> list[str]:
        """Options that select one of a video's formats: as the task requests, else as configured."""
        preset, table = spec.params.get("preset"), self._table
        if preset == "audio":
            return ["--format=ba/b", "--extract-audio"]
        height = _HEIGHTS.get(preset or "", 0 if preset else table.max_height)
        recode = [f"--recode-video={table.recode}"] if table.recode else []
        if not preset and table.format:
            return [f"--format={table.format}", *recode]
        if height:
            return [f"--format=bv*[height<={height}]+ba/b[height<={height}]/b", *recode]
        return recode

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
            raise Permanent(self._missing())
        single = [] if spec.params.get("playlist", True) else ["--no-playlist", "--playlist-items=1"]
        cookies = await asyncio.to_thread(self._cookie_options, spec.user_id, folder)
        await run(
            [program, *_FIXED, *cookies, *single, *options, "--", link],
            folder=folder,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=on_line,
            meanings={_REJECTED: Text("SaveAny does not allow the protocol of this video, such as RTMP")},
            take=take,
        )

    def _cookie_options(self, user_id: int, folder: Path) -> list[str]:
        """Options for the user's cookies: a copy of the file, because yt-dlp writes to it."""
        file = cookies_file(self._tools.config.data_dir, user_id)
        if file is None:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / "cookies.txt"
        copy.touch(mode=0o600)
        shutil.copyfile(file, copy)
        return [f"--cookies={copy}"]

    def is_local(self, item: Item) -> bool:
        """True: `fetch` reads from this machine's disk."""
        return True

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Read the file from this machine's disk."""
        path = Path(item.source["file"])
        await disk.copy(path, item.size or 0, write, have)
        self._last_folder[self._task_of(path)] = path.parent

    def _task_of(self, path: Path) -> str:
        return path.relative_to(self._scratch).parts[0]

    async def _remove_last(self, task_id: str, folder: Path) -> None:
        """Remove the previous video of a task, which is in the storage by now."""
        last = self._last_folder.pop(task_id, None)
        if last and last != folder:
            await asyncio.to_thread(shutil.rmtree, last, ignore_errors=True)

    async def forget(self, task_id: str) -> None:
        """Remove the folder of the task."""
        self._last_folder.pop(task_id, None)
        await remove_folder(self._scratch / task_id)

    async def kept_tasks(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)


class _SavedVideo(msgspec.Struct):
    """A complete video on this machine. This is written to a file beside it."""

    filepath: str
    title: str | None = None

    def is_inside(self, folder: Path) -> bool:
        """Whether the video lies in a folder."""
        return Path(self.filepath).resolve().is_relative_to(folder.resolve())


class _OutputReader:
    """Reads what yt-dlp prints while it downloads a video."""

    def __init__(self, report: Report) -> None:
        self.saved: _SavedVideo | None = None
        self._report = report
        self._stall_detector = stall.ProgramStallDetector()
        # Bytes of the complete parts (such as the video track), and of the current part (such as the audio).
        self._before = self._last = 0

    def paused(self) -> AbstractContextManager[None]:
        """Within this context a speed limit pauses the program, so it has not stalled."""
        return self._stall_detector.paused()

    def read_line(self, line: str) -> None:
        """Read one line of the output."""
        keyword, _, rest = line.partition(" ")
        if keyword == "FILE":
            if self.saved:
                raise Permanent("this link leads to several videos; send links to the single videos")
            self.saved = _decoded(rest, _SavedVideo)
        elif keyword == "BYTES":
            done, _, total = rest.partition(" ")
            self._bytes(_number(done) or 0, _number(total))

    def _bytes(self, done: int, total: int | None) -> None:
        if done < self._last:
            self._before += self._last
        self._last = done
        self._stall_detector.report(self._before + done)
        self._report(self._before + done, self._before + total if total else None)


def _check_length(found: Sequence[object]) -> None:
    if len(found) > _MAX_VIDEOS:
        raise Permanent("the playlist has more than {count} videos", count=_MAX_VIDEOS)


def _decoded(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Permanent("SaveAny does not understand the output of yt-dlp; update both") from error


def _is_page(entry: dict[str, Any]) -> bool:
    """Whether an entry of a playlist has a page of its own. On some sites it has only a number."""
    return bool(entry.get("ie_key")) and str(entry.get("url")).startswith(("http://", "https://"))


def _resolved_file(link: str, entry: dict[str, Any], count: int) -> ResolvedFile:
    title = entry.get("title")
    name = safe_name(str(title or entry.get("id") or link.rpartition("/")[2]))
    folder = safe_name(str(entry["playlist_title"])) if count > 1 and entry.get("playlist_title") else ""
    source = {} if title else {"untitled": True}
    if _is_page(entry):
        return ResolvedFile(name, None, source | {"url": entry["url"]}, folder)
    if number := entry.get("playlist_index") or entry.get("playlist_autonumber"):
        source |= {"number": number}
    return ResolvedFile(name, None, source | {"url": link}, folder)


def _complete_video(folder: Path) -> _SavedVideo | None:
    """The video that an earlier attempt has completely downloaded, None if there is none."""
    try:
        saved = msgspec.json.decode((folder / _SAVED).read_bytes(), type=_SavedVideo)
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # the worker died before the file was written, or while it was
    return saved if Path(saved.filepath).is_file() else None


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
