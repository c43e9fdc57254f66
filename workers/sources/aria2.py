"""Torrents, magnets, metalinks and plain files, by aria2 over its JSON-RPC.

aria2 downloads into a folder of the task; each file goes from there into the storage when it is whole. Its
HTTP and FTP go through our proxy; what it speaks with other peers does not, which is why it is off unless the
configuration enables it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from msgspec.structs import replace

from saveany.errors import NoSpace, Permanent, Retryable, SaveAnyError
from saveany.models import Item, TaskSpec
from saveany.net.client import describe, plain_client
from saveany.net.proxy import GuardedProxy
from saveany.planning.names import safe_name
from saveany.planning.plan import Found
from saveany.supervisor import die_with_parent
from storages.base import Range
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.process import end, environment, find

_POLL = 0.5
#: Polls in a row that may fail before aria2 counts as gone.
_DEAF = 10
_START_SECONDS, _ANSWER_SECONDS = 10.0, 30.0
#: Polls until aria2 must have understood a torrent that it has.
_READ = 6
#: How long it may take to learn which files a link has.
_METADATA_SECONDS = 300.0

#: https://aria2.github.io/manual/en/html/aria2c.html#exit-status
_FULL = 9
_LASTING = {
    3: "there is no such file on the server",
    4: "there is no such file on the server",
    8: "the server cannot go on in the middle of the file",
    22: "the server refuses",
    24: "the server wants a login",
    26: "the torrent cannot be read",
    27: "the metalink cannot be read",
    28: "an option makes no sense to aria2",
    32: "the checksum is wrong",
}


class _File(NamedTuple):
    """A file of a download."""

    gid: str
    path: Path
    size: int


class Aria2Source(Source):
    """`aria2`: all files of a link, in their folders."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.aria2
        self._folder = (tools.config.data_dir / "aria2").absolute()
        self._rpc = _Rpc(tools)
        self._files: dict[tuple[str, str], list[_File]] = {}  # by task and link
        self._gids: dict[str, set[str]] = {}  # by task

    @property
    def problem(self) -> str:
        """That there is no aria2."""
        if self._table.url or find(self._table.program):
            return ""
        return f"{self._table.program} is not installed; on Debian and Ubuntu: apt install aria2"

    async def close(self) -> None:
        """Stop the aria2 that was started here."""
        await self._rpc.close()

    async def resolve(self, spec: TaskSpec) -> list[Found]:
        """The files of every link, when aria2 knows them; downloading goes on meanwhile. A link that leads
        nowhere stays, to fail with its reason when its turn comes."""
        found = []
        for link in spec.links:
            try:
                files = await self._known(spec, link)
            except Permanent:
                found.append(Found(safe_name(urlsplit(link).path.rpartition("/")[2]), None, {"link": link}))
                continue
            found += [self._found(spec, link, file) for file in files]
        return found

    def _found(self, spec: TaskSpec, link: str, file: _File) -> Found:
        place = file.path.relative_to(self._place(spec.id, link))
        folder = "/".join(map(safe_name, place.parts[:-1]))
        return Found(safe_name(place.name), file.size or None, {"link": link, "path": str(place)}, folder)

    def _place(self, task_id: str, link: str) -> Path:
        """Each link has a folder, so that files of one name do not meet."""
        return self._folder / task_id / sha256(link.encode()).hexdigest()[:16]

    async def _known(self, spec: TaskSpec, link: str) -> list[_File]:
        """The files of a link; asks aria2 to download them if it has not been asked yet."""
        key = (spec.id, link)
        if key not in self._files:
            place = self._place(spec.id, link)
            gid = await self._rpc.add(link, place, spec.params.get("options", {}))
            self._gids.setdefault(spec.id, set()).add(gid)
            files = [file async for file in self._list(spec.id, gid, link, place)]
            if not files:
                raise Permanent("there are no files behind this link")
            self._files[key] = files
        return self._files[key]

    async def _list(self, task_id: str, gid: str, link: str, place: Path) -> AsyncIterator[_File]:
        """What a download consists of, when that is known; of a torrent or metalink, what it leads to."""
        give_up = time.monotonic() + _METADATA_SECONDS
        read = 0
        while True:
            status = await self._rpc.status(gid, link)
            if following := status.get("followedBy"):
                for each in following:
                    self._gids[task_id].add(each)
                    async for file in self._list(task_id, each, link, place):
                        yield file
                return
            read += _is_description(status)
            if read == _READ:
                raise Permanent("aria2 cannot read this torrent or metalink, or refuses what it names")
            if files := _listed(status, place):
                for file in files:
                    yield file
                return
            if time.monotonic() > give_up:
                raise Retryable(f"nobody has told within {_METADATA_SECONDS:.0f} s what is behind this link")
            await asyncio.sleep(_POLL)

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """Wait until aria2 has the file."""
        link = item.source["link"]
        place = self._place(spec.id, link)
        try:
            files = {str(each.path.relative_to(place)): each for each in await self._known(spec, link)}
            file = files.get(item.source.get("path", next(iter(files))))
            if file is None:
                raise Permanent("this file is not behind the link any more")
            await self._complete(file, link, report)
        except SaveAnyError:
            await self._drop(spec.id, link)  # the next try asks anew, and goes on with what is there
            raise
        there = await asyncio.to_thread(_inside, file.path, place)
        source = item.source | {"file": str(file.path), "written": there.st_mtime_ns}
        return replace(item, size=there.st_size, source=source)

    async def _complete(self, file: _File, link: str, report: Report) -> None:
        while True:
            status = await self._rpc.status(file.gid, link)
            done, total = int(status["completedLength"]), int(status["totalLength"])
            report(done, total or None)
            if status["status"] == "complete" or (status.get("seeder") == "true" and done == total):
                return
            await asyncio.sleep(_POLL)

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """The file, from this machine's disk."""
        await disk.copy(Path(item.source["file"]), item.size or 0, write, have)

    async def _drop(self, task_id: str, link: str) -> None:
        for file in self._files.pop((task_id, link), []):
            await self._rpc.remove(file.gid)

    async def forget(self, task_id: str) -> None:
        """End the task's downloads, and remove its files unless they are to be kept."""
        for gid in self._gids.pop(task_id, set()):
            await self._rpc.remove(gid)
        for key in [key for key in self._files if key[0] == task_id]:
            del self._files[key]
        if not self._table.keep_file:
            await asyncio.to_thread(shutil.rmtree, self._folder / task_id, ignore_errors=True)


class _Rpc:
    """aria2, running somewhere or started here at the first use."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.config.aria2
        self._url = self._table.url
        self._secret = self._table.secret.get_secret_value()
        self._http = plain_client(timeout=_ANSWER_SECONDS)
        self._proxy = GuardedProxy(tools.guard, tools.config.proxy)
        self._stack = AsyncExitStack()
        self._started = False
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self._stack.aclose()
        await self._http.aclose()

    async def add(self, link: str, place: Path, options: dict[str, str]) -> str:
        """Have it download a link; returns the number of the download."""
        await self._start()
        await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
        ours = {
            "dir": str(place),
            "all-proxy": self._proxy.url,
            "continue": "true",
            "allow-overwrite": "true",
            "auto-file-renaming": "false",
            "check-integrity": "true",
            "follow-torrent": "mem",
            "follow-metalink": "mem",
            "seed-time": "0",
            "bt-save-metadata": "false",
        }
        gid: str = await self._call("addUri", [link], {**options, **ours})
        return gid

    async def status(self, gid: str, link: str) -> dict[str, Any]:
        """How a download stands. Raises what an error of it means."""
        for attempt in range(_DEAF):
            try:
                status: dict[str, Any] = await self._call("tellStatus", gid)
                break
            except Retryable:
                if attempt == _DEAF - 1:
                    raise
                await asyncio.sleep(_POLL)
        if status["status"] in ("error", "removed"):
            raise self._meaning(status, link)
        return status

    async def remove(self, gid: str) -> None:
        """End a download and forget it, whatever has become of it."""
        for method in ("forceRemove", "removeDownloadResult"):
            with suppress(Retryable, Permanent):
                await self._call(method, gid)

    def _meaning(self, status: dict[str, Any], link: str) -> SaveAnyError:
        code, said = int(status.get("errorCode") or 1), str(status.get("errorMessage") or "")[:200]
        host = urlsplit(link).hostname or ""
        refused = [each for each in self._proxy.refusals if host and host in each] or self._proxy.refusals
        if refused and "403" in said:
            return Permanent(refused[-1])
        if code == _FULL:
            return NoSpace("aria2 has no room on its disk; make some")
        if code in _LASTING:
            return Permanent(f"aria2: {_LASTING[code]}" + (f" ({said})" if said else ""))
        return Retryable(f"aria2: {said or f'error {code}'}")

    async def _call(self, method: str, *params: Any) -> Any:
        token = [f"token:{self._secret}"] if self._secret else []
        body = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": [*token, *params]}
        try:
            answer = (await self._http.post(self._url, json=body)).json()
        except (httpx.HTTPError, ValueError) as error:
            raise Retryable(f"aria2 does not answer: {describe(error)}", after=5) from error
        if problem := answer.get("error"):
            if problem.get("message") == "Unauthorized":
                raise Permanent("aria2 does not accept our secret; set `secret` in [aria2] to its rpc-secret")
            raise Permanent(f"aria2: {str(problem.get('message'))[:200]}")
        return answer["result"]

    async def _start(self) -> None:
        async with self._lock:
            if not self._started:
                await self._stack.enter_async_context(self._proxy)
                self._started = True
            if self._table.url:
                return
            if self._process is None or self._process.returncode is not None:
                await self._spawn()

    async def _spawn(self) -> None:
        program = find(self._table.program)
        if program is None:
            raise Permanent(f"{self._table.program} is not installed")
        folder = self._tools.scratch / f"aria2-{os.getpid()}"
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
        self._process = await asyncio.create_subprocess_exec(
            program,
            *options,
            cwd=folder,
            env=environment(folder, self._proxy.url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        self._stack.push_async_callback(end, self._process)
        await self._answers()

    async def _answers(self) -> None:
        give_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                await self._call("getVersion")
            except Retryable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


def _listed(status: dict[str, Any], place: Path) -> list[_File]:
    """The files of a download that are wanted; none while they are not known."""
    is_torrent, complete = "bittorrent" in status, status["status"] == "complete"
    if is_torrent and "info" not in status["bittorrent"]:
        return []  # a magnet whose torrent is still looked for
    if _is_description(status):
        return []  # what it leads to comes at once
    begun = complete or int(status["totalLength"]) > 0 or int(status["completedLength"]) > 0
    files = [each for each in status["files"] if each["selected"] == "true" and each["path"]]
    if not begun or not files:
        return []
    return [_File(status["gid"], _checked(Path(each["path"]), place), int(each["length"])) for each in files]


def _is_description(status: dict[str, Any]) -> bool:
    """Whether it has fetched a torrent or metalink, which is not what is wanted but tells it."""
    name = str(status["files"][0]["path"]).lower()
    return bool(status["status"] == "complete") and name.endswith((".torrent", ".metalink", ".meta4"))


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
