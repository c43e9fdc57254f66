"""Starts processes as copies of one that has imported what they need: they share memory, and start at once.

`ForkServer` forks a process that has one thread and no event loop. On request it forks itself again, and the
copy runs a role. The supervisor itself cannot be copied, because it has an event loop.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from saveany.programs import die_with_parent, set_command_line

_MAX_MESSAGE = 1 << 16
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Name -> the function that a copy runs; it returns the exit code.
Roles = Mapping[str, Callable[[], int]]


class ForkedProcess:
    """A process that a `ForkServer` has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def send_signal(self, signum: signal.Signals) -> None:
        """Send a signal. Raises `ProcessLookupError` if the process has ended."""
        if self._code.done():
            raise ProcessLookupError
        os.kill(self.pid, signum)

    async def wait(self) -> int:
        """Wait for its end. Returns the exit code, or the negative number of the signal that ended it."""
        return await asyncio.shield(self._code)

    def ended(self, code: int) -> None:
        """Record its end."""
        self._code.set_result(code)


class ForkServer:
    """Starts processes that run `roles`.

    Create it before anything runs in this process: no event loop and no other thread. If the server process
    dies, all processes that it has started die with it.
    """

    def __init__(self, roles: Roles) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._processes: dict[int, ForkedProcess] = {}
        self._starting: deque[asyncio.Future[ForkedProcess]] = deque()  # in the order of the requests
        arm = die_with_parent(signal.SIGKILL)
        gc.freeze()  # the garbage collector would write to all objects, and so end the sharing of memory
        self._pid = os.fork()
        if not self._pid:
            if arm:
                arm()
            self._socket.close()
            _Server(theirs, roles).run()
        theirs.close()
        self._socket.setblocking(False)

    @staticmethod
    def is_available() -> bool:
        """Whether this system can do it."""
        return sys.platform == "linux" and hasattr(os, "pidfd_open")

    async def start(
        self, role: str, env: Mapping[str, str], kept: int, variable: str, log_file: Path | None = None
    ) -> ForkedProcess:
        """Start a process in a new session, with `env` added to the environment. It inherits the descriptor
        `kept`; its number there is in the environment variable `variable`. Its output is appended to
        `log_file`, if there is one.

        Raises `OSError` if the server process has died.
        """
        loop = asyncio.get_running_loop()
        request = {"role": role, "env": dict(env), "variable": variable, "output": str(log_file or "")}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [kept])
        started: asyncio.Future[ForkedProcess] = loop.create_future()
        self._starting.append(started)
        loop.add_reader(self._socket.fileno(), self._receive)
        return await started

    def close(self) -> None:
        """End the server process, and with it all processes that it has started and that still run."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while message := self._read():
                pid, code = message
                if code is None:
                    self._note_start(ForkedProcess(pid))
                else:
                    self._processes.pop(pid).ended(code)
            self._note_death()

    def _read(self) -> tuple[int, int | None] | None:
        """Process id and exit code (None: it has started); None if the server process has died."""
        try:
            data = self._socket.recv(_MAX_MESSAGE)
        except ConnectionError:
            return None
        return tuple(json.loads(data)) if data else None

    def _note_start(self, process: ForkedProcess) -> None:
        self._processes[process.pid] = process
        started = self._starting.popleft()
        if started.done():  # the caller was canceled
            process.send_signal(signal.SIGKILL)
        else:
            started.set_result(process)

    def _note_death(self) -> None:
        """The server process has died, and the others with it."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for process in self._processes.values():
            process.ended(-signal.SIGKILL)
        self._processes.clear()
        for started in self._starting:
            if not started.done():
                started.set_exception(BrokenPipeError("the fork server has died"))
        self._starting.clear()


class _Server:
    """The server process."""

    def __init__(self, requests: socket.socket, roles: Roles) -> None:
        self._requests = requests
        self._roles = roles
        self._children: dict[int, int] = {}  # descriptor -> process id
        self._arm = die_with_parent(signal.SIGKILL)

    def run(self) -> None:
        """Serve until the supervisor ends. A copy leaves this function, and the program, when its role has
        ended."""
        os.setsid()
        # They are for the supervisor. Not ignored: a copy would lose those that it gets before it is ready.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        events = select.poll()
        events.register(self._requests, select.POLLIN)
        while True:
            for descriptor, _ in events.poll():
                if descriptor == self._requests.fileno():
                    events.register(self._start(), select.POLLIN)
                else:
                    events.unregister(descriptor)
                    self._report_end(descriptor)

    def _start(self) -> int:
        """Start what is requested; returns a descriptor that becomes readable when it ends."""
        data, descriptors, *_ = socket.recv_fds(self._requests, _MAX_MESSAGE, 1)
        if not data:
            os._exit(0)
        pid = os.fork()
        if not pid:
            if self._arm:
                self._arm()
            sys.exit(self._become(**json.loads(data), kept=descriptors[0]))
        os.close(descriptors[0])
        child = os.pidfd_open(pid)
        self._children[child] = pid
        self._send(pid, None)
        return child

    def _report_end(self, descriptor: int) -> None:
        pid = self._children.pop(descriptor)
        os.close(descriptor)
        self._send(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def _send(self, pid: int, code: int | None) -> None:
        with suppress(ConnectionError):  # the supervisor has ended
            self._requests.send(json.dumps((pid, code)).encode())

    def _become(self, role: str, env: dict[str, str], variable: str, output: str, kept: int) -> int:
        """Turn this copy into the process of a role, and run it; returns its exit code."""
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._requests.close()
        for descriptor in self._children:
            os.close(descriptor)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        if output:
            with Path(output).open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
        os.environ |= env | {variable: str(kept)}
        set_command_line("saveany", role)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        return self._roles[role]()
