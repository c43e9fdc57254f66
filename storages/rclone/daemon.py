"""The rclone process of this worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import ClassVar, Final

import httpx

from saveany.errors import StorageError, StorageUnavailable
from saveany.net import trust
from saveany.programs import die_with_parent, find_program
from storages.rclone.options import RcloneOptions

#: Seconds that rclone may take to start.
_START: Final = 15.0


class RcloneDaemon:
    """`rclone rcd`, shared by the storages of an event loop that have the same rclone.conf and flags."""

    _all: ClassVar[dict[tuple[int, str], RcloneDaemon]] = {}

    def __init__(self, key: tuple[int, str], folder: Path, process: asyncio.subprocess.Process) -> None:
        self._key = key
        self._folder = folder
        self._process = process
        self._users = 0
        transport = httpx.AsyncHTTPTransport(uds=str(folder / "rc.sock"))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://rclone", trust_env=False)

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.returncode is None

    @classmethod
    async def shared(cls, name: str, options: RcloneOptions) -> RcloneDaemon:
        """The running daemon, or a new one. The caller releases it with `release`."""
        settings = repr((options.config_path, options.flags))
        key = (id(asyncio.get_running_loop()), settings)
        daemon = cls._all.get(key)
        if daemon is None or not daemon.alive:
            daemon = cls._all[key] = await cls._start(key, name, options)
        daemon._users += 1
        return daemon

    @classmethod
    async def _start(cls, key: tuple[int, str], name: str, options: RcloneOptions) -> RcloneDaemon:
        program = find_program("rclone")
        if program is None:
            raise StorageError(
                "storage {storage!r}: rclone is not installed; see https://rclone.org/install/", storage=name
            )
        folder = Path(tempfile.mkdtemp(prefix="saveany-rclone-"))  # mode 700; short enough for a socket
        command = [program, "rcd", "--rc-addr", f"unix://{folder / 'rc.sock'}", "--rc-no-auth", "--rc-serve"]
        command += _TIMEOUTS
        command += ["--config", str(options.config_path)] if options.config_path else []
        process = await asyncio.create_subprocess_exec(
            *command,
            *options.flags,
            env=os.environ | trust.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        daemon = cls(key, folder, process)
        try:
            async with asyncio.timeout(_START):
                while not await daemon._replies():
                    if not daemon.alive:
                        raise StorageError(
                            "storage {storage!r}: rclone does not start; check config_path and flags",
                            storage=name,
                        )
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await daemon._end()
            raise StorageUnavailable("storage {storage!r}: rclone does not reply", storage=name) from None
        return daemon

    async def _replies(self) -> bool:
        try:
            return (await self.http.post("/rc/noop", timeout=_START)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def release(self) -> None:
        """Release the daemon. It ends when no storage uses it."""
        self._users -= 1
        if self._users <= 0:
            await self._end()

    async def _end(self) -> None:
        if self._all.get(self._key) is self:
            del self._all[self._key]
        await self.http.aclose()
        if self.alive:
            self._process.terminate()
            await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


#: The caller retries as well, and ten attempts of rclone take minutes if the server does not reply.
_TIMEOUTS: Final = ("--contimeout=15s", "--timeout=60s", "--low-level-retries=3")
