"""The aria2 daemon over its JSON-RPC: running somewhere, or started here at the first use."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec

from saveany.errors import Permanent, Retryable
from saveany.excerpt import excerpt
from saveany.net import trust
from saveany.net.client import describe, plain_client
from saveany.programs import die_with_parent, end_group, find_program
from workers.sources.base import Tools
from workers.sources.process import environment

#: Seconds between two polls of a status.
POLL_SECONDS = 0.5
#: Seconds until a task is retried after aria2 did not reply: long enough to free the slot for other tasks.
_UNREACHABLE_WAIT = 60.0
#: Polls in a row that may fail before aria2 counts as unreachable.
_MAX_FAILED_POLLS = 10
#: Seconds that aria2 may take to start, and to reply.
_START_SECONDS, _REPLY_SECONDS = 10.0, 30.0
#: The proxy of an aria2 that is started here: nothing listens there. Each download gets a proxy of its own.
_NO_PROXY = "http://127.0.0.1:1"


class DaemonUnreachable(Retryable):
    """aria2 itself does not reply."""


class _RpcError(msgspec.Struct):
    message: str


class _RpcReply(msgspec.Struct):
    """A reply of JSON-RPC: either a result or an error."""

    result: Any = None
    error: _RpcError | None = None


class Aria2Daemon:
    """Methods of aria2's JSON-RPC. They raise `Permanent` and `Retryable`; `DaemonUnreachable` if aria2 does
    not reply."""

    def __init__(self, tools: Tools) -> None:
        self._table = tools.config.aria2
        self._url = self._table.url
        self._secret = self._table.secret.get_secret_value()
        self._http = plain_client(timeout=_REPLY_SECONDS)
        self._folder = tools.scratch / f"aria2-{os.getpid()}"
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """End the daemon if it was started here."""
        if self._process is not None:
            await end_group(self._process)
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        await self._http.aclose()

    async def start(self) -> None:
        """Start the daemon if it is not running; returns when it replies."""
        async with self._lock:
            if not self._table.url and (self._process is None or self._process.returncode is not None):
                await self._spawn()
            await self._call("getVersion")

    async def add(self, gid: str, link: str, folder: Path, proxy: str, options: dict[str, str]) -> None:
        """Begin to download a link into a folder."""
        proxies = dict.fromkeys(("all-proxy", "http-proxy", "https-proxy", "ftp-proxy"), proxy)
        ours = {
            "gid": gid,
            "dir": str(folder),
            "proxy-method": "tunnel",  # our proxy does not support FTP
            "no-proxy": "",
            # Only aria2's control file shows which bytes of an existing file are valid.
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
        """The status of a download. A few polls may fail."""
        for failures in range(_MAX_FAILED_POLLS):
            try:
                status: dict[str, Any] = await self._call("tellStatus", gid, keys)
                break
            except DaemonUnreachable:
                if failures == _MAX_FAILED_POLLS - 1:
                    raise
                await asyncio.sleep(POLL_SECONDS)
        return status

    async def limit(self, gid: str, rate: int) -> bool:
        """Limit a download to `rate` bytes per second, 0 for no limit. False if aria2 does not reply."""
        try:
            await self._call("changeOption", gid, {"max-download-limit": str(rate)})
        except DaemonUnreachable:
            return False
        except (Retryable, Permanent):
            pass  # the download has ended
        return True

    async def remove(self, gid: str) -> None:
        """End a download and those that it led to, whatever their status, and remove their results."""
        with suppress(Retryable, Permanent):
            status = await self._call("tellStatus", gid, ["followedBy"])
            for following in status.get("followedBy", []):
                await self.remove(following)
        for method in ("forceRemove", "removeDownloadResult"):
            with suppress(Retryable, Permanent):
                await self._call(method, gid)

    async def _call(self, method: str, *params: Any) -> Any:
        token = [f"token:{self._secret}"] if self._secret else []
        body = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": [*token, *params]}
        try:
            response = await self._http.post(self._url, json=body)
            reply = msgspec.json.decode(response.content, type=_RpcReply)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise DaemonUnreachable(
                "aria2 does not respond: {reason}", reason=describe(error), after=_UNREACHABLE_WAIT
            ) from error
        if reply.error is None:
            return reply.result
        if reply.error.message == "Unauthorized":
            raise Permanent("aria2 does not accept our secret; set `secret` in [aria2] to its rpc-secret")
        if "is not found" in reply.error.message:
            raise Retryable("aria2 does not know the download any more; was aria2 restarted?")
        raise Permanent("aria2: {reason}", reason=excerpt(reply.error.message, 200))

    async def _spawn(self) -> None:
        program = find_program(self._table.program)
        if program is None:
            raise Permanent("{program} is not installed", program=self._table.program)
        folder = self._folder
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        port, self._secret = _free_port(), secrets.token_urlsafe(24)
        self._url = f"http://127.0.0.1:{port}/jsonrpc"
        settings = folder / "aria2.conf"
        settings.touch(mode=0o600)
        # In a file, because every user of this machine can read the arguments of a program.
        settings.write_text(f"rpc-secret={self._secret}\n")
        options = ["--enable-rpc", f"--rpc-listen-port={port}", "--quiet", f"--conf-path={settings}"]
        options += [f"--stop-with-process={os.getpid()}", f"--enable-dht={str(self._table.dht).lower()}"]
        options += ["--dht-entry-point=dht.transmissionbt.com:6881"] if self._table.dht else []
        options += ["--max-concurrent-downloads=100", "--file-allocation=none", "--dht-file-path=dht.dat"]
        options += ["--auto-save-interval=10", f"--ca-certificate={trust.bundle()}"]
        self._process = await asyncio.create_subprocess_exec(
            program,
            *options,
            cwd=folder,
            env=environment(folder, _NO_PROXY),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                await self._call("getVersion")
            except Retryable:
                if self._process is None or self._process.returncode is not None:
                    raise Retryable("aria2 exits as soon as it is started") from None
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
