"""Child processes that are kept alive: what `saveany run` and `saveany demo` start.

A child that dies is started again. One that ends with `CONFIG_EXIT` before it has ever worked would only end
the same way again, so it ends the whole; a child says with `worked` that it works. Children never outlive
their supervisor, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import STDOUT

from saveany.logs import get_logger
from saveany.programs import die_with_parent

#: Exit code of a process whose configuration is wrong.
CONFIG_EXIT = 2

_FIRST_DELAY_S = 0.2
_MAX_DELAY_S = 10.0
_STEADY_S = 30.0  # a child that lived this long starts over with the first delay
_ON_EXIT_S = 5.0
#: Number of the pipe into which a child writes that it works.
_WORKED_VARIABLE = "_SAVEANY_WORKED_FD"

log = get_logger(__name__)


def worked() -> None:
    """Tell the supervisor of this process, if it has one, that its configuration is good: it works."""
    if number := os.environ.pop(_WORKED_VARIABLE, ""):
        with suppress(OSError):
            os.write(int(number), b"1")
            os.close(int(number))


@dataclass(frozen=True, slots=True)
class Program:
    """One child: what to run and where its output goes."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)  # on top of our own environment
    log_file: Path | None = None  # stdout and stderr are appended here; None: they go where ours go


OnExit = Callable[[str, int], Awaitable[None]]


class Supervisor:
    """Runs programs until `stop`, SIGTERM, SIGINT, or the `CONFIG_EXIT` of a child that has never worked.

    Stopping sends SIGTERM in the order of `programs`, waits until all are gone, and sends SIGKILL after
    `drain_s` seconds, or at once at a second signal. `on_exit(name, pid)` runs after each death of a child,
    before it is started again; it gets 5 seconds, and its errors are only logged.
    """

    def __init__(
        self, programs: Sequence[Program], *, drain_s: float = 30.0, on_exit: OnExit | None = None
    ) -> None:
        self._programs = programs
        self._drain_s = drain_s
        self._on_exit = on_exit
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._worked: set[str] = set()  # programs that have, in this run or an earlier one
        self._stopping = asyncio.Event()
        self._patient = True  # False: whoever is still there is killed
        self._exit_code = 0

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children alive now, by name."""
        return {name: child.pid for name, child in self._children.items()}

    def stop(self) -> None:
        """Begin to stop; called again, stop without waiting any longer."""
        if self._stopping.is_set():
            self._kill()
        self._stopping.set()

    async def run(self) -> int:
        """Run until stopped and all children are gone: 0, or `CONFIG_EXIT` if that is why."""
        with self._signals():
            async with asyncio.TaskGroup() as keepers:
                for program in self._programs:
                    keepers.create_task(self._keep(program))
                await self._stopping.wait()
                self._signal_all(signal.SIGTERM)
                deadline = asyncio.get_running_loop().call_later(self._drain_s, self._kill)
            deadline.cancel()
        return self._exit_code

    def _kill(self) -> None:
        if self._children:
            log.warning("killing what did not stop", names=sorted(self._children))
        self._patient = False
        self._signal_all(signal.SIGKILL)

    async def _keep(self, program: Program) -> None:
        """Start the program again and again until stopping."""
        clock = asyncio.get_running_loop().time
        delay = _FIRST_DELAY_S
        while not self._stopping.is_set():
            started = clock()
            try:
                code = await self._run_once(program)
            except Exception:  # the others must not end with it
                log.exception("process cannot be kept", name=program.name)
                code = 1
            if code == CONFIG_EXIT and program.name not in self._worked:
                self._exit_code = CONFIG_EXIT
                self._stopping.set()
            if self._stopping.is_set():
                return
            if clock() - started >= _STEADY_S:
                delay = _FIRST_DELAY_S
            log.warning("process ended, starting it again", name=program.name, code=code, after_s=delay)
            await self._sleep(delay)
            delay = min(2 * delay, _MAX_DELAY_S)

    async def _run_once(self, program: Program) -> int:
        told, tells = os.pipe()
        os.set_blocking(told, False)  # something that the child has left behind may hold the other end
        try:
            return await self._run_child(program, tells)
        finally:
            os.close(tells)
            with suppress(BlockingIOError):
                if os.read(told, 1):
                    self._worked.add(program.name)
            os.close(told)

    async def _run_child(self, program: Program, tells: int) -> int:
        try:
            child = await _spawn(program, tells)
        except OSError as error:
            log.error("process cannot be started", name=program.name, error=str(error))
            return 1
        self._children[program.name] = child
        if self._stopping.is_set():  # the signals to all went out while this one was being born
            _signal(child, signal.SIGTERM if self._patient else signal.SIGKILL)
        try:
            code = await child.wait()
        finally:
            _kill_group(child.pid)
            await child.wait()
            del self._children[program.name]
        await self._tell(program.name, child.pid)
        return code

    async def _tell(self, name: str, pid: int) -> None:
        if self._on_exit is None:
            return
        try:
            await asyncio.wait_for(self._on_exit(name, pid), _ON_EXIT_S)
        except Exception:
            log.exception("clean-up after a process failed", name=name, pid=pid)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _signal_all(self, signum: signal.Signals) -> None:
        for program in self._programs:
            if child := self._children.get(program.name):
                _signal(child, signum)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop)
        try:
            yield
        finally:
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)


async def _spawn(program: Program, tells: int) -> asyncio.subprocess.Process:
    """Start it in a session of its own: a Ctrl-C at the terminal reaches us alone, and we give the order. It
    gets the pipe end `tells`, for `worked`."""
    output = program.log_file.open("ab") if program.log_file else None
    try:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            env={**os.environ, _WORKED_VARIABLE: str(tells), **program.env},
            pass_fds=[tells],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=STDOUT if output else None,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    finally:
        if output:
            output.close()


def _signal(child: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    if signum == signal.SIGKILL:
        _kill_group(child.pid)
    else:
        with suppress(ProcessLookupError):
            child.send_signal(signum)


def _kill_group(pid: int) -> None:
    """Kill the child's whole session: a downloader it started must not go on writing without it."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
