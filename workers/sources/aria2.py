"""Torrents, magnets, metalinks and plain files, by aria2 over its JSON-RPC.

aria2 downloads into a folder of the task; each file goes from there into the storage when it is whole. Its
HTTP and FTP go through our proxy; what it speaks with other peers does not, which is why it is off unless the
configuration enables it.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec.structs import replace

from saveany.errors import NoSpace, Offline, Permanent, Retryable, SaveAnyError
from saveany.excerpt import excerpt
from saveany.logs import get_logger
from saveany.models import Item, TaskSpec
from saveany.net import trust
from saveany.net.client import describe, plain_client
from saveany.net.proxy import GuardedProxy
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from saveany.programs import die_with_parent, end_group, find_program
from storages.base import Range
from workers import stall
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.process import environment, without_proxy

_POLL = 0.5
#: After how many seconds an aria2 that does not answer is asked again. So long that others work meanwhile.
_AWAY_SECONDS = 60.0
#: Polls in a row that may fail before aria2 counts as gone.
_DEAF = 10
_START_SECONDS, _ANSWER_SECONDS = 10.0, 30.0
#: How long it may take to learn which files a link has, and how long nothing may come of a file.
_METADATA_SECONDS, _SILENCE_SECONDS = 300.0, stall.SECONDS
#: Links of a task about which we ask at a time.
_AT_ONCE = 50
#: A file of the web may turn out to be a torrent or metalink until it is whole, unless it is larger.
_LARGEST_DESCRIPTION = 16 << 20

_STATE = ["gid", "status", "totalLength", "completedLength", "verifiedLength", "seeder"]
_STATE += ["errorCode", "errorMessage"]
_NAMES = [*_STATE, "files", "bittorrent", "followedBy", "following"]

#: https://aria2.github.io/manual/en/html/aria2c.html#exit-status
_NO_RANGES, _FULL = 8, 9
_LASTING = {
    3: "there is no such file on the server",
    4: "there is no such file on the server",
    22: "the server refuses",
    24: "the server wants a login",
    26: "the torrent cannot be read",
    27: "the metalink cannot be read",
    28: "an option makes no sense to aria2",
    32: "the checksum is wrong",
}

#: Those that come of what a server has sent.
_OF_CONTENT = (3, 4, 26, 27, 28, 32)

#: Answers of a server that may be others the next time.
_LATER = re.compile(r"status=(408|425|429|5\d\d)\b")

#: The way out of an aria2 that we start, but for downloads, which are given one of their own each.
_NOWHERE = "http://127.0.0.1:1"


log = get_logger("saveany.aria2")


class _File(NamedTuple):
    """A file of a download."""

    gid: str
    path: Path
    size: int


@dataclass
class _Speed:
    """Whose download it is, and the limit that aria2 knows of."""

    user: int
    limit: int = 0


class Aria2Source(Source):
    """`aria2`: all files of a link, in their folders."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.aria2
        self._folder = (tools.config.data_dir / "aria2").absolute()
        self._rpc = _Rpc(tools)
        self._files: dict[str, list[_File]] = {}  # by the link's number
        self._ways: dict[str, GuardedProxy] = {}  # by task, so that none learns what another was refused
        self._speeds: dict[str, _Speed] = {}  # of downloads, by their number
        self._heeding: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """That there is no aria2."""
        if self._table.url or find_program(self._table.program):
            return ""
        return f"{self._table.program} is not installed; on Debian and Ubuntu: apt install aria2"

    async def close(self) -> None:
        """Stop the aria2 that was started here."""
        if self._heeding:
            self._heeding.cancel()
        for task_id in list(self._ways):
            await self._shut(task_id)
        await self._rpc.close()

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The files of every link, when aria2 knows them; downloading goes on meanwhile. A link that leads
        nowhere stays, to fail with its reason when its turn comes."""
        await self._rpc.start()
        await self._way(spec)
        some = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                looks = {
                    link: group.create_task(self._behind(spec, link, some))
                    for link in dict.fromkeys(spec.links)
                }
        except* Offline as errors:
            raise errors.exceptions[0] from None
        return [found for link in spec.links for found in looks[link].result()]

    async def _behind(self, spec: TaskSpec, link: str, some: asyncio.Semaphore) -> list[ResolvedFile]:
        try:
            async with some:
                files = await self._known(spec, link)
        except Offline:  # what is behind it will be known when there is a way out again
            self._files.pop(_number(spec.id, link), None)
            raise
        except SaveAnyError:
            return [ResolvedFile(safe_name(urlsplit(link).path.rpartition("/")[2]), None, {"link": link})]
        return [self._found(spec, link, file) for file in files]

    def _found(self, spec: TaskSpec, link: str, file: _File) -> ResolvedFile:
        place = file.path.relative_to(self._place(spec.id, link))
        folder = "/".join(map(safe_name, place.parts[:-1]))
        return ResolvedFile(
            safe_name(place.name), file.size or None, {"link": link, "path": str(place)}, folder
        )

    def _place(self, task_id: str, link: str) -> Path:
        """Each link has a folder, so that files of one name do not meet. It is called as the download is,
        which tells a worker that comes later what to end."""
        return self._folder / task_id / _number(task_id, link)

    async def _known(self, spec: TaskSpec, link: str) -> list[_File]:
        """The files of a link; asks aria2 to download them if it has not been asked yet."""
        gid = _number(spec.id, link)
        if gid not in self._files:
            place = self._place(spec.id, link)
            way = await self._way(spec)
            await self._rpc.start()
            await self._rpc.remove(gid)  # of an earlier try, or of a worker that died
            await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
            await self._rpc.add(gid, link, place, way.url, spec.params.get("options", {}))
            self._speeds.pop(gid, None)
            self._heed(spec.user_id, gid)
            files = await self._list(gid, link, place, way)
            self._speeds.pop(gid, None)  # it may have been only what told of those
            self._heed(spec.user_id, *(file.gid for file in files))
            self._files[gid] = files
        return self._files[gid]

    async def _way(self, spec: TaskSpec) -> GuardedProxy:
        if spec.id not in self._ways:
            take = partial(self._tools.take, spec.user_id)
            way = GuardedProxy(self._tools.guard, self._tools.config.proxy, take=take)
            self._ways[spec.id] = await way.__aenter__()
        return self._ways[spec.id]

    # Limits of speed. What comes over HTTP and FTP is held back by our proxy, but not what peers send.

    def _heed(self, user: int, *gids: str) -> None:
        """Have these downloads keep to the limit of their user from now on, whatever it becomes."""
        for gid in gids:
            self._speeds.setdefault(gid, _Speed(user))
        if self._heeding is None or self._heeding.done():
            self._heeding = asyncio.create_task(self._heed_limits())

    def _is_held_back(self, spec: TaskSpec, came: int) -> bool:
        """Whether it may be slow because of a limit."""
        return came > 0 and self._tools.rate(spec.user_id, [spec.user_id]) > 0

    async def _heed_limits(self) -> None:
        while self._speeds:
            try:
                await self._pass_limits_on()
            except Exception:  # else the limits of all tasks would stay as they are
                log.exception("limits could not be passed on to aria2")
            await asyncio.sleep(_POLL)

    async def _pass_limits_on(self) -> None:
        users = [speed.user for speed in self._speeds.values()]
        for gid, speed in list(self._speeds.items()):
            rate = self._tools.rate(speed.user, users)
            limit = max(1, round(rate)) if rate else 0
            if limit != speed.limit and await self._rpc.limit(gid, limit):
                speed.limit = limit

    async def _shut(self, task_id: str) -> None:
        if way := self._ways.pop(task_id, None):
            await way.__aexit__()

    async def _list(self, gid: str, link: str, place: Path, way: GuardedProxy) -> list[_File]:
        """What a download consists of, when that is known; of a torrent or metalink, what it leads to."""
        began = time.monotonic()
        while True:
            status = await self._rpc.status(gid, _NAMES)
            if following := status.get("followedBy"):
                lists = [await self._list(each, link, place, way) for each in following]
                return [file for files in lists for file in files]
            files = _listed(status, place)
            if files and _is_final(status):
                return files
            await _check(status, link, place, way)
            if status["status"] == "complete":
                raise Permanent("aria2 cannot read this torrent or metalink, or refuses what it names")
            if status["status"] == "waiting":  # for its turn in aria2
                began = time.monotonic()
            if time.monotonic() - began > _METADATA_SECONDS:
                raise Retryable(f"nobody has told within {_METADATA_SECONDS:.0f} s what is behind this link")
            await asyncio.sleep(_POLL)

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """Wait until aria2 has the file."""
        link = item.source["link"]
        place = self._place(spec.id, link)
        try:
            file = _chosen(await self._known(spec, link), place, item.source.get("path", ""))
            await self._complete(file, link, place, spec, report)
            self._speeds.pop(file.gid, None)
        except Retryable:
            self._files.pop(_number(spec.id, link), None)  # the next try asks anew
            self._speeds.pop(_number(spec.id, link), None)
            raise
        there = await asyncio.to_thread(_inside, file.path, place)
        source = item.source | {"file": str(file.path), "written": there.st_mtime_ns}
        return replace(item, size=there.st_size, source=source)

    async def _complete(self, file: _File, link: str, place: Path, spec: TaskSpec, report: Report) -> None:
        """Return when the download is whole, not when aria2 has ended giving it away."""
        way = await self._way(spec)
        last, moved, before = "", time.monotonic(), 0
        while True:
            status = await self._rpc.status(file.gid, _STATE)
            await _check(status, link, place, way)
            done, total = int(status["completedLength"]), int(status["totalLength"])
            # Of a torrent only the whole is known to have reached the disk: each file gets its share.
            report(done * file.size // total if file.size and total else done, file.size or total or None)
            if status["status"] == "complete" or (status.get("seeder") == "true" and done == total):
                return
            much = done // max(1, int(_SILENCE_SECONDS * stall.LEAST_BYTES_PER_SECOND))
            now = f"{much} {status.get('verifiedLength')}"
            if now != last or status["status"] == "waiting" or self._is_held_back(spec, done - before):
                last, moved = now, time.monotonic()
            before = done
            if time.monotonic() - moved > _SILENCE_SECONDS:
                raise Retryable(f"aria2: next to nothing has come for {_SILENCE_SECONDS / 60:.0f} minutes")
            await asyncio.sleep(_POLL)

    @property
    def is_local(self) -> bool:
        """As in the contract."""
        return True

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """The file, from this machine's disk."""
        await disk.copy(Path(item.source["file"]), item.size or 0, write, have)

    async def rest(self, task_id: str) -> None:
        """End the task's downloads. aria2 goes on with what is there."""
        for gid in await asyncio.to_thread(disk.names, self._folder / task_id):
            await self._rpc.remove(gid)
            for each in (gid, *(file.gid for file in self._files.pop(gid, ()))):
                self._speeds.pop(each, None)
        await self._shut(task_id)

    async def forget(self, task_id: str) -> None:
        """End the task's downloads, and remove its files unless they are to be kept."""
        await self.rest(task_id)
        if not self._table.keep_file:
            await asyncio.to_thread(shutil.rmtree, self._folder / task_id, ignore_errors=True)

    async def kept(self) -> list[str]:
        """Tasks that have a folder, unless they are to keep it."""
        return [] if self._table.keep_file else await asyncio.to_thread(disk.names, self._folder)


class _Rpc:
    """aria2, running somewhere or started here at the first use."""

    def __init__(self, tools: Tools) -> None:
        self._table = tools.config.aria2
        self._url = self._table.url
        self._secret = self._table.secret.get_secret_value()
        self._http = plain_client(timeout=_ANSWER_SECONDS)
        self._folder = tools.scratch / f"aria2-{os.getpid()}"
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """End it if it is ours."""
        if self._process is not None:
            await end_group(self._process)
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        await self._http.aclose()

    async def start(self) -> None:
        """Return when it answers."""
        async with self._lock:
            if not self._table.url and (self._process is None or self._process.returncode is not None):
                await self._spawn()
            await self._call("getVersion")

    async def add(self, gid: str, link: str, place: Path, proxy: str, options: dict[str, str]) -> None:
        """Have it download a link into a folder."""
        proxies = dict.fromkeys(("all-proxy", "http-proxy", "https-proxy", "ftp-proxy"), proxy)
        ours = {
            "gid": gid,
            "dir": str(place),
            "proxy-method": "tunnel",  # our proxy speaks no FTP
            "no-proxy": "",
            # Only the control file of aria2 tells which bytes of a file that is there are good.
            "continue": "false",
            "allow-overwrite": "true",
            "auto-file-renaming": "false",
            "check-integrity": "true",
            "follow-torrent": "mem",
            "follow-metalink": "mem",
            "seed-time": "0",
            "bt-save-metadata": "false",
        }
        await self._call("addUri", [link], {**options, **ours, **proxies})

    async def status(self, gid: str, keys: list[str]) -> dict[str, Any]:
        """How a download stands."""
        for failures in range(_DEAF):
            try:
                status: dict[str, Any] = await self._call("tellStatus", gid, keys)
                break
            except _DaemonUnreachable:
                if failures == _DEAF - 1:
                    raise
                await asyncio.sleep(_POLL)
        return status

    async def limit(self, gid: str, rate: int) -> bool:
        """Let a download have so many bytes per second, 0 for any number. False if aria2 does not answer."""
        try:
            await self._call("changeOption", gid, {"max-download-limit": str(rate)})
        except _DaemonUnreachable:
            return False
        except (Retryable, Permanent):
            pass  # it has ended
        return True

    async def remove(self, gid: str) -> None:
        """End a download and what it led to, and forget them, whatever has become of them."""
        with suppress(Retryable, Permanent):
            status = await self._call("tellStatus", gid, ["followedBy"])
            for each in status.get("followedBy", []):
                await self.remove(each)
        for method in ("forceRemove", "removeDownloadResult"):
            with suppress(Retryable, Permanent):
                await self._call(method, gid)

    async def _call(self, method: str, *params: Any) -> Any:
        token = [f"token:{self._secret}"] if self._secret else []
        body = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": [*token, *params]}
        try:
            reply = await self._http.post(self._url, json=body)
            answer = msgspec.json.decode(reply.content, type=_Answer)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise _DaemonUnreachable(
                f"aria2 does not answer: {describe(error)}", after=_AWAY_SECONDS
            ) from error
        if answer.error is None:
            return answer.result
        if answer.error.message == "Unauthorized":
            raise Permanent("aria2 does not accept our secret; set `secret` in [aria2] to its rpc-secret")
        if "is not found" in answer.error.message:
            raise Retryable("aria2 does not know the download any more; was it started anew?")
        raise Permanent(f"aria2: {excerpt(answer.error.message, 200)}")

    async def _spawn(self) -> None:
        program = find_program(self._table.program)
        if program is None:
            raise Permanent(f"{self._table.program} is not installed")
        folder = self._folder
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        port, self._secret = _free_port(), secrets.token_urlsafe(24)
        self._url = f"http://127.0.0.1:{port}/jsonrpc"
        settings = folder / "aria2.conf"
        settings.touch(mode=0o600)
        settings.write_text(f"rpc-secret={self._secret}\n")  # arguments can be read by everybody
        options = ["--enable-rpc", f"--rpc-listen-port={port}", "--quiet", f"--conf-path={settings}"]
        options += [f"--stop-with-process={os.getpid()}", f"--enable-dht={str(self._table.dht).lower()}"]
        options += ["--dht-entry-point=dht.transmissionbt.com:6881"] if self._table.dht else []
        options += ["--max-concurrent-downloads=100", "--file-allocation=none", "--dht-file-path=dht.dat"]
        options += ["--auto-save-interval=10", f"--ca-certificate={trust.bundle()}"]
        self._process = await asyncio.create_subprocess_exec(
            program,
            *options,
            cwd=folder,
            env=environment(folder, _NOWHERE),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        await self._answers()

    async def _answers(self) -> None:
        give_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                await self._call("getVersion")
            except Retryable:
                if self._process is None or self._process.returncode is not None:
                    raise Retryable("aria2 ends as soon as it is started") from None
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


class _Error(msgspec.Struct):
    message: str


class _Answer(msgspec.Struct):
    """What JSON-RPC answers: the one or the other."""

    result: Any = None
    error: _Error | None = None


class _DaemonUnreachable(Retryable):
    """aria2 itself does not answer."""


def _number(task_id: str, link: str) -> str:
    """What a link's download is called in aria2: the same in every process, so that none is lost."""
    return sha256(f"{task_id} {link}".encode()).hexdigest()[:16]


async def _check(status: dict[str, Any], link: str, place: Path, way: GuardedProxy) -> None:
    """Raise what has become of a download that failed."""
    if int(status.get("errorCode") or 0) == _NO_RANGES:  # what is there would be gone on with again
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    if problem := _problem(status, link, way):
        raise problem


def _problem(status: dict[str, Any], link: str, way: GuardedProxy) -> SaveAnyError | None:
    """What has become of a download that failed."""
    if status["status"] not in ("error", "removed"):
        return None
    code, said = int(status.get("errorCode") or 1), str(status.get("errorMessage") or "")
    host = urlsplit(link).hostname or ""
    refused = [each for each in way.refusals if host and host in each] or way.refusals
    if refused and ("403" in said or said.startswith("Proxy connection failed")):
        return Permanent(refused[-1])
    said = trust.advised(excerpt(without_proxy(said, way.url), 200))
    if code == _FULL:
        return NoSpace("aria2 has no room on its disk; make some")
    if way.trouble and code not in _OF_CONTENT:
        return Offline(f"aria2: {way.trouble}")
    if code in _LASTING and not _LATER.search(said):
        return Permanent(f"aria2: {_LASTING[code]}" + (f" ({said})" if said else ""))
    return Retryable(f"aria2: {said or f'error {code}'}")


def _listed(status: dict[str, Any], place: Path) -> list[_File]:
    """The files of a download that are wanted, as far as they are known."""
    if "bittorrent" in status and "info" not in status["bittorrent"]:
        return []  # a magnet whose torrent is still looked for
    if _is_description(status):
        return []  # what it leads to comes at once
    files = [each for each in status["files"] if each["selected"] == "true" and each["path"]]
    return [_File(status["gid"], _checked(Path(each["path"]), place), int(each["length"])) for each in files]


def _is_final(status: dict[str, Any]) -> bool:
    """Whether the files that a download has now are those that are wanted."""
    known = "bittorrent" in status or "following" in status or status["status"] in ("complete", "error")
    return known or max(int(status["totalLength"]), int(status["completedLength"])) > _LARGEST_DESCRIPTION


def _is_description(status: dict[str, Any]) -> bool:
    """Whether it fetches a torrent or metalink, which is not what is wanted but tells it."""
    name = str(status["files"][0]["path"]).lower()
    return "bittorrent" not in status and name.endswith((".torrent", ".metalink", ".meta4"))


def _chosen(files: list[_File], place: Path, path: str) -> _File:
    """The file at a path; of a link about which nothing was known when the task began, its only one."""
    if not path and len(files) > 1:
        raise Permanent(
            f"there are {len(files)} files behind this link, which was learned late: start a new task"
        )
    for file in files:
        if not path or file.path == place / path:
            return file
    raise Permanent("this file is not behind the link any more")


def _checked(path: Path, place: Path) -> Path:
    """A path below `place`: what a torrent calls its files is up to whoever made it."""
    if not path.is_relative_to(place) or ".." in path.parts:
        raise Permanent("a file of this torrent would lie outside its folder")
    return path


def _inside(path: Path, place: Path) -> os.stat_result:
    if not path.resolve().is_relative_to(place.resolve()):
        raise Permanent("a file of this download lies outside its folder")
    try:
        return path.stat()
    except FileNotFoundError:
        raise Permanent(
            f"aria2 has the file, but it is not at {path} here; aria2 must see data_dir under the same path"
        ) from None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
