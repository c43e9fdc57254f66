"""Torrents, magnet links, metalinks and plain files, by aria2 over its JSON-RPC.

aria2 downloads into a folder of the task; each file goes from there into the storage when it is complete. Its
HTTP and FTP go through our proxy, but what it exchanges with other peers does not. That is why this source is
off unless the configuration enables it.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from saveany.errors import Offline, Permanent, Retryable, SaveAnyError
from saveany.loops import repeat
from saveany.models import Item, TaskSpec
from saveany.net.proxy import GuardedProxy
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import is_installed
from saveany.texts import Text
from storages.base import Range
from workers import stall
from workers.sources import disk
from workers.sources.aria2_rpc import POLL_SECONDS, Aria2Daemon
from workers.sources.aria2_status import (
    FILE_KEYS,
    NO_RANGES,
    PROGRESS_KEYS,
    DownloadedFile,
    chosen_file,
    failure_of,
    is_final,
    listed_files,
    stat_inside,
)
from workers.sources.base import Report, Source, Tools, Write

#: Seconds within which the files of a link must become known.
_METADATA_SECONDS = 300.0
#: Seconds within which bytes of a file must arrive.
_SILENCE_SECONDS = stall.SECONDS
#: Links of a task that are resolved at the same time.
_CONCURRENT_LINKS = 50


@dataclass
class _SpeedLimit:
    """The user of a download, and the limit in bytes per second that aria2 has for it; 0 for none."""

    user: int
    limit: int = 0


class Aria2Source(Source):
    """`aria2`: all files of a link, in their folders."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.aria2
        self._folder = (tools.config.data_dir / "aria2").absolute()
        self._daemon = Aria2Daemon(tools)
        self._files: dict[str, list[DownloadedFile]] = {}  # by the gid of the link
        self._proxies: dict[str, GuardedProxy] = {}  # by task, so that each has its own list of refusals
        self._limits = _SpeedLimits(tools, self._daemon)

    @property
    def problem(self) -> Text | None:
        """That aria2 is missing, None if it is not."""
        if self._table.url or is_installed(self._table.program):
            return None
        return Text(
            "{program} is not installed; on Debian and Ubuntu: apt install aria2",
            {"program": self._table.program},
        )

    async def close(self) -> None:
        """End the aria2 that was started here."""
        self._limits.close()
        for task_id in list(self._proxies):
            await self._close_proxy(task_id)
        await self._daemon.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of every link, as soon as aria2 knows them; it is already downloading them. A link that
        cannot be resolved becomes a file that fails with the reason when its turn comes."""
        await self._daemon.start()
        await self._proxy(spec)
        limit = asyncio.Semaphore(_CONCURRENT_LINKS)
        try:
            async with asyncio.TaskGroup() as group:
                resolving = {
                    link: group.create_task(self._resolve_link(spec, link, limit))
                    for link in dict.fromkeys(spec.links)
                }
        except* Offline as errors:
            raise errors.exceptions[0] from None
        return [file for link in spec.links for file in resolving[link].result()]

    async def _resolve_link(self, spec: TaskSpec, link: str, limit: asyncio.Semaphore) -> list[ResolvedFile]:
        try:
            async with limit:
                files = await self._files_of(spec, link)
        except Offline:  # its files can be found when the network is back
            self._files.pop(_gid(spec.id, link), None)
            raise
        except SaveAnyError:
            return [ResolvedFile(safe_name(urlsplit(link).path.rpartition("/")[2]), None, {"link": link})]
        return [self._resolved_file(spec, link, file) for file in files]

    def _resolved_file(self, spec: TaskSpec, link: str, file: DownloadedFile) -> ResolvedFile:
        path = file.path.relative_to(self._link_folder(spec.id, link))
        folder = "/".join(map(safe_name, path.parts[:-1]))
        return ResolvedFile(
            safe_name(path.name), file.size or None, {"link": link, "path": str(path)}, folder
        )

    def _link_folder(self, task_id: str, link: str) -> Path:
        """The folder of a link: each has one, so that files of the same name do not collide. Its name is the
        gid of the download, so that a later worker knows which download to end."""
        return self._folder / task_id / _gid(task_id, link)

    async def _files_of(self, spec: TaskSpec, link: str) -> list[DownloadedFile]:
        """The files of a link. The first call has aria2 download them."""
        gid = _gid(spec.id, link)
        if gid not in self._files:
            folder = self._link_folder(spec.id, link)
            proxy = await self._proxy(spec)
            await self._daemon.start()
            await self._daemon.remove(gid)  # of an earlier attempt, or of a worker that died
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            await self._daemon.add(gid, link, folder, proxy.url, spec.params.get("options", {}))
            self._limits.forget(gid)
            self._limits.apply(spec.user_id, gid)
            files = await self._wait_for_files(gid, link, folder, proxy)
            self._limits.forget(gid)  # it may have been only the torrent or metalink
            self._limits.apply(spec.user_id, *(file.gid for file in files))
            self._files[gid] = files
        return self._files[gid]

    async def _wait_for_files(
        self, gid: str, link: str, folder: Path, proxy: GuardedProxy
    ) -> list[DownloadedFile]:
        """The files of a download, when they are known; for a torrent or metalink, the files it leads to."""
        since = time.monotonic()
        while True:
            status = await self._daemon.status(gid, FILE_KEYS)
            if following := status.get("followedBy"):
                lists = [await self._wait_for_files(each, link, folder, proxy) for each in following]
                return [file for files in lists for file in files]
            files = listed_files(status, folder)
            if files and is_final(status):
                return files
            await _check(status, link, folder, proxy)
            if status["status"] == "complete":
                raise Permanent("aria2 cannot read this torrent or metalink, or refuses its contents")
            if status["status"] == "waiting":  # other downloads come first
                since = time.monotonic()
            if time.monotonic() - since > _METADATA_SECONDS:
                raise Retryable(
                    "no peer has sent the list of files within {seconds} s", seconds=round(_METADATA_SECONDS)
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _proxy(self, spec: TaskSpec) -> GuardedProxy:
        """The proxy for the downloads of a task."""
        if spec.id not in self._proxies:
            take = partial(self._tools.take, spec.user_id)
            proxy = GuardedProxy(self._tools.guard, self._tools.config.proxy, take=take)
            self._proxies[spec.id] = await proxy.__aenter__()
        return self._proxies[spec.id]

    async def _close_proxy(self, task_id: str) -> None:
        if proxy := self._proxies.pop(task_id, None):
            await proxy.__aexit__()

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item, when aria2 has its file."""
        link = item.source["link"]
        folder, gid = self._link_folder(spec.id, link), _gid(spec.id, link)
        try:
            file = chosen_file(await self._files_of(spec, link), folder, item.source.get("path", ""))
            await self._wait_until_complete(file, link, folder, spec, report)
            self._limits.forget(file.gid)
        except Retryable:
            self._files.pop(gid, None)  # the next attempt adds the link again
            self._limits.forget(gid)
            raise
        stat = await asyncio.to_thread(stat_inside, file.path, folder)
        source = item.source | {"file": str(file.path), "written": stat.st_mtime_ns}
        return replace(item, size=stat.st_size, source=source)

    async def _wait_until_complete(
        self, file: DownloadedFile, link: str, folder: Path, spec: TaskSpec, report: Report
    ) -> None:
        """Return when the download is complete, even if aria2 still uploads it to other peers."""
        proxy = await self._proxy(spec)
        last, moved, before = "", time.monotonic(), 0
        while True:
            status = await self._daemon.status(file.gid, PROGRESS_KEYS)
            await _check(status, link, folder, proxy)
            done, total = int(status["completedLength"]), int(status["totalLength"])
            # aria2 reports the progress of a torrent as a whole: each file gets its share of it.
            report(done * file.size // total if file.size and total else done, file.size or total or None)
            if status["status"] == "complete" or (status.get("seeder") == "true" and done == total):
                return
            steps = done // max(1, int(_SILENCE_SECONDS * stall.LEAST_BYTES_PER_SECOND))
            state = f"{steps} {status.get('verifiedLength')}"
            limited = done > before and self._tools.rate(spec.user_id, [spec.user_id]) > 0
            if state != last or status["status"] == "waiting" or limited:
                last, moved = state, time.monotonic()
            before = done
            if time.monotonic() - moved > _SILENCE_SECONDS:
                raise Retryable(
                    "aria2: almost no data has arrived for {minutes} minutes",
                    minutes=round(_SILENCE_SECONDS / 60),
                )
            await asyncio.sleep(POLL_SECONDS)

    def is_local(self, item: Item) -> bool:
        """True: `fetch` reads from this machine's disk."""
        return True

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Read the file from this machine's disk."""
        await disk.copy(Path(item.source["file"]), item.size or 0, write, have)

    async def stop(self, task_id: str) -> None:
        """End the task's downloads. A later attempt continues with the files on the disk."""
        for gid in await asyncio.to_thread(disk.names, self._folder / task_id):
            await self._daemon.remove(gid)
            self._limits.forget(gid, *(file.gid for file in self._files.pop(gid, ())))
        await self._close_proxy(task_id)

    async def forget(self, task_id: str) -> None:
        """End the task's downloads, and remove its files unless the configuration keeps them."""
        await self.stop(task_id)
        if not self._table.keep_file:
            await asyncio.to_thread(shutil.rmtree, self._folder / task_id, ignore_errors=True)

    async def kept_tasks(self) -> list[str]:
        """Tasks that have a folder, unless the configuration keeps those."""
        return [] if self._table.keep_file else await asyncio.to_thread(disk.names, self._folder)


class _SpeedLimits:
    """Passes speed limits on to aria2 while downloads run. Our proxy slows down HTTP and FTP, but bytes from
    peers do not come through it."""

    def __init__(self, tools: Tools, daemon: Aria2Daemon) -> None:
        self._rate = tools.rate
        self._daemon = daemon
        self._downloads: dict[str, _SpeedLimit] = {}  # by gid
        self._updating: asyncio.Task[None] | None = None
        self._all_ended = asyncio.Event()
        self._all_ended.set()

    def close(self) -> None:
        """Stop updating limits."""
        if self._updating:
            self._updating.cancel()

    def apply(self, user: int, *gids: str) -> None:
        """From now on, keep these downloads within the limit of their user, whenever it changes."""
        for gid in gids:
            self._downloads.setdefault(gid, _SpeedLimit(user))
        if self._downloads:
            self._all_ended.clear()
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(
                repeat("speed_limits", self._update, POLL_SECONDS, until=self._all_ended)
            )

    def forget(self, *gids: str) -> None:
        """These downloads have ended."""
        for gid in gids:
            self._downloads.pop(gid, None)
        if not self._downloads:
            self._all_ended.set()

    async def _update(self) -> None:
        users = [download.user for download in self._downloads.values()]
        for gid, download in list(self._downloads.items()):
            rate = self._rate(download.user, users)
            limit = max(1, round(rate)) if rate else 0
            if limit != download.limit and await self._daemon.limit(gid, limit):
                download.limit = limit


def _gid(task_id: str, link: str) -> str:
    """The id of a link's download in aria2. Every worker derives the same one, so that none is lost."""
    return sha256(f"{task_id} {link}".encode()).hexdigest()[:16]


async def _check(status: dict[str, Any], link: str, folder: Path, proxy: GuardedProxy) -> None:
    """Raise the error of a download that has failed."""
    if int(status.get("errorCode") or 0) == NO_RANGES:
        # Else the next attempt would try to continue with the same files, and fail again.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if failure := failure_of(status, link, proxy):
        raise failure
