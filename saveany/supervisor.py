"""Keeps child processes running, for `saveany run` and `saveany demo`.

A child that dies is restarted. If it exits with `CONFIG_EXIT` before it has ever worked, a restart cannot
help, and the supervisor stops; a child calls `report_working` once it works. Children never outlive their
supervisor, even if it is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import STDOUT
from typing import Protocol

from saveany.forking import ForkServer
from saveany.logs import get_logger, tail
from saveany.programs import die_with_parent

#: Exit code of a process with a wrong configuration.
CONFIG_EXIT = 2

_FIRST_DELAY_S = 0.2
_MAX_DELAY_S = 10.0
_STEADY_S = 30.0  # after this many seconds of life, the next restart has the first delay again
_ON_EXIT_S = 5.0
#: Environment variable with the file descriptor of the pipe that `report_working` writes to.
_WORKING_VARIABLE = "_SAVEANY_WORKING_FD"
#: Environment variable with the id that a supervisor has chosen for a worker process.
WORKER_ID_VARIABLE = "_SAVEANY_WORKER_ID"

log = get_logger(__name__)


def report_working() -> None:
    """Report to the supervisor of this process, if it has one, that its configuration is good."""
    if number := os.environ.pop(_WORKING_VARIABLE, ""):
        with suppress(OSError):
            os.write(int(number), b"1")
            os.close(int(number))


@dataclass(frozen=True, slots=True)
class Program:
    """A child process: its command, environment and log file."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)  # in addition to the environment of the supervisor
    log_file: Path | None = None  # stdout and stderr are appended to it; None: inherited
    role: str = ""  # of a fork server that does the same as `argv`; "" if there is none
    new_env: Callable[[], Mapping[str, str]] = dict  # more of the environment, made anew for each start


class Child(Protocol):
    """A running child process."""

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""

    def send_signal(self, signal: signal.Signals) -> None:
        """Send a signal. Raises `ProcessLookupError` if it has ended."""

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""


OnExit = Callable[[str, int], Awaitable[None]]


class Supervisor:
    """Runs programs until `stop`, SIGTERM, SIGINT, or until a child that has never worked exits with
    `CONFIG_EXIT`.

    To stop, it sends SIGTERM in the order of `programs` and waits for the children. It sends SIGKILL after
    `drain_s` seconds, or at a second signal. `on_exit(name, pid)` runs after each exit of a child, before the
    restart, for at most 5 seconds; its errors are logged. `forks` starts programs that have a `role`.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        drain_s: float = 30.0,
        on_exit: OnExit | None = None,
        forks: ForkServer | None = None,
    ) -> None:
        self._programs = programs
        self._forks = forks
        self._drain_s = drain_s
        self._on_exit = on_exit
        self._children: dict[str, Child] = {}
        self._worked: set[str] = set()  # programs that have reported so, before this run or in it
        self._stopping = asyncio.Event()
        self._killing = False  # whether children that are still running are killed
        self._exit_code = 0

    @property
    def pids(self) -> dict[str, int]:
        """Name -> process id of the running children."""
        return {name: child.pid for name, child in self._children.items()}

    def stop(self) -> None:
        """Start to stop. A second call kills the children that are still running."""
        if self._stopping.is_set():
            self._kill()
        self._stopping.set()

    async def run(self) -> int:
        """Run until all children have ended. Returns 0, or `CONFIG_EXIT` if that was the reason to stop."""
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
            log.warning("processes_killed", names=sorted(self._children), reason="they did not stop in time")
        self._killing = True
        self._signal_all(signal.SIGKILL)

    async def _keep(self, program: Program) -> None:
        """Run the program, and restart it until the supervisor stops."""
        clock = asyncio.get_running_loop().time
        delay = _FIRST_DELAY_S
        while not self._stopping.is_set():
            started = clock()
            try:
                code = await self._run_once(program)
            except Exception:  # the other programs must continue
                log.exception("process_supervision_failed", name=program.name)
                code = 1
            if code == CONFIG_EXIT and program.name not in self._worked:
                self._exit_code = CONFIG_EXIT
                self._stopping.set()
            if self._stopping.is_set():
                return
            if clock() - started >= _STEADY_S:
                delay = _FIRST_DELAY_S
            log.warning("process_ended", name=program.name, code=code, restart_after_s=delay)
            await self._sleep(delay)
            delay = min(2 * delay, _MAX_DELAY_S)

    async def _run_once(self, program: Program) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)  # a process that the child has left behind may hold the other end
        try:
            return await self._run_child(program, writer)
        finally:
            os.close(writer)
            with suppress(BlockingIOError):
                if os.read(reader, 1):
                    self._worked.add(program.name)
            os.close(reader)

    async def _run_child(self, program: Program, writer: int) -> int:
        try:
            child = await self._start(program, writer)
        except OSError as error:
            log.error("process_start_failed", name=program.name, reason=error.strerror)
            return 1
        self._children[program.name] = child
        if self._stopping.is_set():  # the signals were sent while this child was starting
            _signal(child, signal.SIGKILL if self._killing else signal.SIGTERM)
        try:
            code = await child.wait()
        finally:
            _kill_group(child.pid)
            await child.wait()
            del self._children[program.name]
        await self._report_exit(program.name, child.pid)
        return code

    async def _start(self, program: Program, writer: int) -> Child:
        program = replace(program, env={**program.env, **program.new_env()})
        if self._forks and program.role:
            try:
                return await self._forks.start(
                    program.role, program.env, writer, _WORKING_VARIABLE, program.log_file
                )
            except OSError as error:
                log.warning("fork_server_died", name=program.name, reason=error.strerror)
        return await _spawn(program, writer)

    async def _report_exit(self, name: str, pid: int) -> None:
        if self._on_exit is None:
            return
        try:
            await asyncio.wait_for(self._on_exit(name, pid), _ON_EXIT_S)
        except Exception:
            log.exception("process_cleanup_failed", name=name, pid=pid)

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


async def _spawn(program: Program, writer: int) -> asyncio.subprocess.Process:
    """Start a child in a new session, so that Ctrl-C reaches only the supervisor, which then stops the
    children in order. The child inherits `writer`, the end of a pipe, for `report_working`."""
    output = program.log_file.open("ab") if program.log_file else None
    log_tail = tail()
    try:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            env={**os.environ, _WORKING_VARIABLE: str(writer), **program.env},
            pass_fds=[writer, *([log_tail.fd] if log_tail else [])],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=STDOUT if output else None,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    finally:
        if output:
            output.close()


def _signal(child: Child, signum: signal.Signals) -> None:
    if signum == signal.SIGKILL:
        _kill_group(child.pid)
    else:
        with suppress(ProcessLookupError):
            child.send_signal(signum)


def _kill_group(pid: int) -> None:
    """Kill the whole session of the child, because a downloader that it has started would continue to
    write."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
