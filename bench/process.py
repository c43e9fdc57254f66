"""Child processes whose CPU time and memory are measured from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
        # The clock id that clock_getcpuclockid(3) returns for a process on Linux.
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)

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
    clean = {name: text for name, text in os.environ.items() if not name.startswith("SAVEANY_")}
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env=clean | dict(env or {}),
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
