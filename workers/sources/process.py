"""Runs programs for sources: guarded, limited, and never left running.

A program gets an environment of its own, in which our proxy is the only way to the network, and writes into a
folder of its task. It is killed, with everything that it has started, when the task is canceled, when the
program is idle for too long, and when this process ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import stat
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from saveany.errors import NoSpace, Offline, Permanent, Retryable, SaveAnyError
from saveany.excerpt import excerpt
from saveany.net import trust
from saveany.net.guard import AddressGuard
from saveany.net.proxy import GuardedProxy, Take
from saveany.programs import die_with_parent, end_group
from saveany.texts import Text

#: Seconds without output, network traffic or written files after which a program is killed.
SILENCE = 180.0
_MAX_LINE_BYTES = 4 << 20
#: Number of lines of error output that are kept to find the reason of a failure.
_ERROR_LINES = 20
#: Error messages of programs that mean a temporary failure.
_TEMPORARY = re.compile(
    r"timed? ?out|time-?out|HTTP Error (408|425|429|5\d\d)|temporar|try again|connection|reset by|"
    r"incomplete|cannot be reached|more expected|EOF|rate.?limit|Errno 1[01]\d|network|Bad Gateway",
    re.IGNORECASE,
)

#: What programs print when our proxy could not connect to a server; nothing useful follows it.
_PROXY_FAILED = re.compile(
    r"(?:\(?caused by )?(?:\w*ProxyError)?[(\"']*"
    r"(?:(?:unable to|cannot|could not|failed to) connect to (?:the )?proxy"
    r"|tunnel connection failed|proxy connection failed)\b.*",
    re.IGNORECASE | re.DOTALL,
)
#: How gallery-dl's HTTP library names the connection to our proxy, before the URL that it requested.
_CONNECTION_POOL = re.compile(
    r"HTTPS?ConnectionPool\(host='127\.0\.0\.1', port=\d+\): Max retries exceeded with url: (\S+)"
)

OnLine = Callable[[str], None]


class ProxyReport(NamedTuple):
    """The refusals of our proxy to a program, and the problem of the operator's proxy (None if it works)."""

    refusals: list[Text]
    problem: Text | None

    def check(self, name: str) -> None:
        """Raise the error of the program `name`, if it failed because of the proxy."""
        if self.problem:
            raise Offline("{program}: {reason}", program=name, reason=self.problem)
        if self.refusals:
            raise Permanent(self.refusals[-1])


async def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    guard: AddressGuard,
    proxy: str,
    on_line: OnLine,
    meanings: Mapping[int, Text] | None = None,
    take: Take | None = None,
) -> ProxyReport:
    """Run a program in `folder` until it ends; `on_line` gets each line of its output. `take` limits the
    speed of its downloads.

    If the program fails, raises `Permanent` with the reason if the guard refused an address, or with the text
    in `meanings` for its exit code; otherwise `Retryable`, `Permanent` or `NoSpace`, depending on its last
    error message. Returns the proxy's report about a program that was successful.
    """
    errors: deque[str] = deque(maxlen=_ERROR_LINES)
    async with GuardedProxy(guard, proxy, take=take) as own_proxy:
        async with _started(command, folder, own_proxy.url) as process:
            # A program that merges or recodes prints nothing for a long time, but writes files.
            activity = _Activity(lambda: (own_proxy.passed, _last_written(folder)))
            watching = asyncio.create_task(_kill_when_idle(process, activity))
            reading = [
                asyncio.create_task(_read_lines(process.stdout, on_line, activity)),
                asyncio.create_task(_read_lines(process.stderr, errors.append, activity)),
            ]
            try:
                await asyncio.gather(*reading)
                code = await process.wait()
            finally:
                for task in (watching, *reading):
                    task.cancel()
                await asyncio.gather(watching, *reading, return_exceptions=True)
        report = ProxyReport(own_proxy.refusals, own_proxy.problem)
    name = Path(command[0]).name
    if activity.timed_out:
        raise Retryable("{program} was idle for {seconds} s", program=name, seconds=round(SILENCE))
    if code:
        report.check(name)
    if meanings and code in meanings:
        raise Permanent(meanings[code])
    if code:
        lines = [line for line in errors if "error" in line.lower()] or [f"exit code {code}", *errors]
        raise failure(name, without_proxy(lines[-1], own_proxy.url), temporary=code < 0)
    return report


@asynccontextmanager
async def _started(
    command: Sequence[str | Path], folder: Path, proxy: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(_kill_orphans, folder)
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment(folder, proxy),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_LINE_BYTES,
            start_new_session=True,  # so that its child processes can be killed with it
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    )
    try:
        yield await asyncio.shield(starting)  # a start that is canceled half-way would leave the program
    finally:
        await end_group(await starting)


def environment(folder: Path, proxy: str) -> dict[str, str]:
    """The environment variables of a program that runs in `folder`. They contain nothing private."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZ") if name in os.environ}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    own = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    return kept | proxies | own | trust.environment()


def cookies_file(data_dir: Path, user_id: int) -> Path | None:
    """The cookies.txt of a user, None if there is none. Raises `Permanent` if other users of this machine can
    read it."""
    file = data_dir.absolute() / "cookies" / f"{user_id}.txt"
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise Permanent(
            "cookies/{file} in data_dir must be a file of mode 600, because it contains logins",
            file=file.name,
        )
    return file


async def remove_folder(folder: Path) -> None:
    """Remove a folder in which programs ran, and kill those that still run in it."""
    await asyncio.to_thread(_kill_orphans, folder)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _kill_orphans(folder: Path) -> None:
    """Kill programs in a folder whose worker was killed. The kernel ends the program itself together with the
    worker, but not the ffmpeg that it has started, and two of them would write to the same file."""
    for cwd in Path("/proc").glob("[0-9]*/cwd"):  # exists on Linux only
        with suppress(OSError):  # the process has ended, or belongs to another user
            if cwd.readlink().is_relative_to(folder.resolve()):
                os.kill(int(cwd.parent.name), signal.SIGKILL)


def _last_written(folder: Path) -> int:
    """When a file in a folder was last written to, in nanoseconds since the epoch; 0 without files."""
    newest = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # it was removed meanwhile
            newest = max(newest, file.lstat().st_mtime_ns)
    return newest


class _Activity:
    """When a program was last active: it printed a line, or the value of `signs` changed."""

    def __init__(self, signs: Callable[[], object]) -> None:
        self._signs = signs
        self._last_signs: object = None
        self._last = time.monotonic()
        self.timed_out = False

    def now(self) -> None:
        """The program is active now."""
        self._last = time.monotonic()

    def seconds_left(self) -> float:
        """Seconds until the program counts as hung. A sign counts from when it is noticed here."""
        signs = self._signs()
        if signs != self._last_signs:
            self._last_signs = signs
            self.now()
        return self._last + SILENCE - time.monotonic()


async def _kill_when_idle(process: asyncio.subprocess.Process, activity: _Activity) -> None:
    left = activity.seconds_left()
    while left > 0:
        await asyncio.sleep(left)
        left = activity.seconds_left()
    activity.timed_out = True
    await end_group(process)


async def _read_lines(stream: asyncio.StreamReader | None, on_line: OnLine, activity: _Activity) -> None:
    assert stream is not None  # noqa: S101  # it is a pipe
    while True:
        try:
            line = await stream.readline()
        except ValueError as error:
            raise Permanent("the program printed a line that is far too long") from error
        if not line:
            return
        activity.now()
        on_line(line.decode(errors="replace").rstrip("\r\n"))


def without_proxy(message: str, url: str = "") -> str:
    """A message of a program, without our proxy at `url`, which no user knows of. A failed connection to the
    proxy means that the server cannot be reached."""
    text = _CONNECTION_POOL.sub(r"\1:", _PROXY_FAILED.sub("the server cannot be reached", message))
    address = re.escape(url.rpartition("@")[2]) if url else r"127\.0\.0\.1:\d+"
    login = r"(?:[^\s/@'\"]*@)?" if url else r"saveany:[^\s/@'\"]*@"
    return re.sub(rf"(?:\w+://)?{login}{address}[^\s'\")]*", "the network", text)


def failure(name: str, message: str, *, temporary: bool = False) -> SaveAnyError:
    """The error for a program that failed with this message. Its text is short and contains no secrets."""
    if "No space left on device" in message:
        return NoSpace("{program} has no space left on this machine's disk; free some", program=name)
    if "no such option" in message or "unrecognized arguments" in message:
        return Permanent("{program} is too old; update it: pip install -U {program}", program=name)
    text = re.sub(r"(https?)://[^/@\s]*@", r"\1://", without_proxy(message))
    text = re.sub(rf"^(ERROR|{re.escape(name)}: error|\[[\w-]+\]\[error\]):?\s*", "", text)
    text = re.split(r"; please report this issue|\. If you believe this is an error", text)[0]
    kind = Retryable if temporary or _TEMPORARY.search(text) else Permanent
    return kind("{program}: {reason}", program=name, reason=trust.with_advice(excerpt(text, 300)))
