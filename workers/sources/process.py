"""The one way in which a source runs a program: guarded, bounded, and never left behind.

The program sees an environment of our own in which our proxy is the only way out, writes into a folder of the
task, and is killed with all that it started when the task is canceled, when it does nothing for too long, or
ends.
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

#: A program that says nothing, moves no bytes and writes to no file for so many seconds is killed.
SILENCE = 180.0
_LONGEST_LINE = 4 << 20
_LAST_LINES = 20
_PASSING = re.compile(
    r"timed? ?out|time-?out|HTTP Error (408|425|429|5\d\d)|temporar|try again|connection|reset by|"
    r"incomplete|cannot be reached|more expected|EOF|rate.?limit|Errno 1[01]\d|network|Bad Gateway",
    re.IGNORECASE,
)

#: Programs say this, and nothing of use after it, when our proxy could not connect to a server.
_NO_WAY = re.compile(
    r"(?:\(?caused by )?(?:\w*ProxyError)?[(\"']*"
    r"(?:(?:unable to|cannot|could not|failed to) connect to (?:the )?proxy"
    r"|tunnel connection failed|proxy connection failed)\b.*",
    re.IGNORECASE | re.DOTALL,
)
#: How gallery-dl's library names a connection to the proxy, and then the URL that it wanted.
_POOL = re.compile(
    r"HTTPS?ConnectionPool\(host='127\.0\.0\.1', port=\d+\): Max retries exceeded with url: (\S+)"
)

OnLine = Callable[[str], None]


class WayOut(NamedTuple):
    """What was said to a program that wanted to connect: what the guard refused, and what is wrong with the
    operator's proxy."""

    refusals: list[str]
    trouble: str

    def check(self, name: str) -> None:
        """Raise why the program failed, if that was on the way out."""
        if self.trouble:
            raise Offline(f"{name}: {self.trouble}")
        if self.refusals:
            raise Permanent(self.refusals[-1])


async def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    guard: AddressGuard,
    proxy: str,
    on_line: OnLine,
    meanings: Mapping[int, str] | None = None,
    take: Take | None = None,
) -> WayOut:
    """Run a program to its end in `folder`; `on_line` is told each line of its output. It is given what it
    downloads no faster than `take` lets it.

    If it fails, raises `Permanent` with the reason where the guard refused an address it wanted, or with what
    `meanings` has for its exit code; otherwise `Retryable`, `Permanent` or `NoSpace` by what it said last.
    Returns what became of the connections of a program that went well.
    """
    said: deque[str] = deque(maxlen=_LAST_LINES)
    async with GuardedProxy(guard, proxy, take=take) as way:
        async with _running(command, folder, way.url) as process:
            # A program that merges or recodes is silent for long, but writes.
            moved = _Moved(lambda: (way.passed, _last_written(folder)))
            watch = asyncio.create_task(_watch(process, moved))
            reading = [
                asyncio.create_task(_lines(process.stdout, on_line, moved)),
                asyncio.create_task(_lines(process.stderr, said.append, moved)),
            ]
            try:
                await asyncio.gather(*reading)
                code = await process.wait()
            finally:
                for task in (watch, *reading):
                    task.cancel()
                await asyncio.gather(watch, *reading, return_exceptions=True)
        out = WayOut(way.refusals, way.trouble)
    name = Path(command[0]).name
    if moved.over:
        raise Retryable(f"{name} did nothing for {SILENCE:.0f} s")
    if code:
        out.check(name)
    if meanings and code in meanings:
        raise Permanent(meanings[code])
    if code:
        errors = [line for line in said if "error" in line.lower()] or [f"exit code {code}", *said]
        raise failure(name, without_proxy(errors[-1], way.url), passing=code < 0)
    return out


@asynccontextmanager
async def _running(
    command: Sequence[str | Path], folder: Path, proxy: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(_kill_strays, folder)
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment(folder, proxy),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,  # so that what it starts can be killed with it
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    )
    try:
        yield await asyncio.shield(starting)  # canceled half started, it would leave what it has started
    finally:
        await end_group(await starting)


def environment(folder: Path, proxy: str) -> dict[str, str]:
    """All that a program learns of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZ") if name in os.environ}
    ways = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    private = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    return kept | ways | private | trust.environment()


def cookies(data_dir: Path, user_id: int) -> Path | None:
    """The cookies.txt of a user, if there is one. `Permanent` if others on this machine can read it."""
    file = data_dir.absolute() / "cookies" / f"{user_id}.txt"
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise Permanent(f"cookies/{file.name} in data_dir must be a file of mode 600: it holds logins")
    return file


async def clear(folder: Path) -> None:
    """Remove a folder in which programs ran."""
    await asyncio.to_thread(_kill_strays, folder)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _kill_strays(folder: Path) -> None:
    """Kill what runs in a folder still, because whoever started it was killed: the kernel ends the program
    with us, but not the ffmpeg that it started, and two of them would write to one file."""
    for cwd in Path("/proc").glob("[0-9]*/cwd"):  # only Linux has it
        with suppress(OSError):  # it has ended, or is somebody else's
            if cwd.readlink().is_relative_to(folder.resolve()):
                os.kill(int(cwd.parent.name), signal.SIGKILL)


def _last_written(folder: Path) -> int:
    """When any file in a folder was last written to, in nanoseconds."""
    newest = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # gone again
            newest = max(newest, file.lstat().st_mtime_ns)
    return newest


class _Moved:
    """When there was last a sign of life: a line, or a change of `signs`."""

    def __init__(self, signs: Callable[[], object]) -> None:
        self._signs = signs
        self._seen: object = None
        self._last = time.monotonic()
        self.over = False

    def now(self) -> None:
        self._last = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until it counts as dead. A sign counts from when it was seen here."""
        signs = self._signs()
        if signs != self._seen:
            self._seen = signs
            self.now()
        return self._last + SILENCE - time.monotonic()


async def _watch(process: asyncio.subprocess.Process, moved: _Moved) -> None:
    left = moved.left
    while left > 0:
        await asyncio.sleep(left)
        left = moved.left
    moved.over = True
    await end_group(process)


async def _lines(stream: asyncio.StreamReader | None, on_line: OnLine, moved: _Moved) -> None:
    assert stream is not None  # noqa: S101  # it is a pipe
    while True:
        try:
            line = await stream.readline()
        except ValueError as error:
            raise Permanent("the program said a line that is far too long") from error
        if not line:
            return
        moved.now()
        on_line(line.decode(errors="replace").rstrip("\r\n"))


def without_proxy(said: str, url: str = "") -> str:
    """What a program said, without the proxy of ours (at `url`) that it has to use and that nobody else has
    heard of: it could not reach a server through it."""
    text = _POOL.sub(r"\1:", _NO_WAY.sub("the server cannot be reached", said))
    address = re.escape(url.rpartition("@")[2]) if url else r"127\.0\.0\.1:\d+"
    login = r"(?:[^\s/@'\"]*@)?" if url else r"saveany:[^\s/@'\"]*@"
    return re.sub(rf"(?:\w+://)?{login}{address}[^\s'\")]*", "the network", text)


def failure(name: str, said: str, *, passing: bool = False) -> SaveAnyError:
    """What a user should know of the last thing that a program said: nothing secret, nothing long."""
    if "No space left on device" in said:
        return NoSpace(f"{name} has no room on this machine's disk; make some")
    if "no such option" in said or "unrecognized arguments" in said:
        return Permanent(f"{name} is too old; update it: pip install -U {name}")
    text = re.sub(r"(https?)://[^/@\s]*@", r"\1://", without_proxy(said))
    text = re.sub(rf"^(ERROR|{re.escape(name)}: error|\[[\w-]+\]\[error\]):?\s*", "", text)
    text = re.split(r"; please report this issue|\. If you believe this is an error", text)[0]
    kind = Retryable if passing or _PASSING.search(text) else Permanent
    return kind(f"{name}: {trust.advised(excerpt(text, 300))}")
