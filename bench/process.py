"""Child processes whose CPU time and memory are measured from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from bench.results import MB
from saveany.programs import die_with_parent

_STOP_SECONDS = 20.0
_CPUCLOCK_SCHED = 2


class Child:
    """A running Python module."""

    def __init__(self, process: Process, log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self._process = process

    def cpu(self) -> float:
        """CPU seconds of all its threads so far, including ended ones."""
        return _cpu(self.pid)

    def family(self) -> list[int]:
        """The ids of this process and of all its descendants."""
        return family(self.pid)

    def family_cpu(self) -> float:
        """CPU seconds of this process and its running descendants so far."""
        return sum(map(_cpu, self.family()))

    def family_pss_mb(self) -> float:
        """The memory of this process and its descendants; memory that they share counts once."""
        return sum(map(_pss_mb, self.family()))

    async def kill(self) -> None:
        """Send SIGKILL to this process and its descendants, and wait until this one has ended."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._process.wait()

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to this process only."""
        self._process.send_signal(signum)

    def peak_mb(self) -> float:
        """The peak of its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if not found:
            raise RuntimeError(f"process {self.pid} has ended; its log: {self.log}")
        return int(found[1]) * 1024 / MB

    async def read_json(self) -> Any:
        """The next line of JSON that it prints."""
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended early:\n{self.log.read_text()[-2000:]}")
        return msgspec.json.decode(line)

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process does not end in time."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(
    log: Path, module: str, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run `python -m MODULE ARGUMENTS …` for the duration of the block; its stderr is written to `log`."""
    async with program_child(log, sys.executable, "-m", module, *arguments, env=env) as running:
        yield running


@asynccontextmanager
async def program_child(
    log: Path, *command: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """The same with any program."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=_environment() | dict(env or {}),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    running = Child(process, log)
    try:
        yield running
    finally:
        await running.stop()


async def run_timed(command: Sequence[str | Path]) -> tuple[float, bytes]:
    """Run a program to its end. Returns the seconds taken, and what it printed."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=_environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {err.decode()[-500:]}")
    return time.monotonic() - began, out


def _environment() -> dict[str, str]:
    """The environment without settings of SaveAny."""
    return {name: text for name, text in os.environ.items() if not name.startswith("SAVEANY_")}


def cpu_of_family(pid: int) -> float:
    """CPU seconds of a process and its running descendants so far."""
    return sum(map(_cpu, family(pid)))


def family(pid: int) -> list[int]:
    """The ids of a process and of all its descendants."""
    return [pid, *_descendants(pid)]


def _cpu(pid: int) -> float:
    """CPU seconds of a process; 0 if it has ended."""
    with suppress(OSError):
        # The clock id that clock_getcpuclockid(3) returns for a process on Linux.
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    return 0.0


def _descendants(pid: int) -> Iterator[int]:
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            for child_pid in map(int, file.read_text().split()):
                yield child_pid
                yield from _descendants(child_pid)


def _pss_mb(pid: int) -> float:
    """The proportional set size of a process; 0 if it has ended."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 / MB if found else 0.0
    return 0.0
