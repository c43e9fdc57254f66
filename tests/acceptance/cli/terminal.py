"""A command that runs on its own terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Self

from tests.fixtures.waiting import until

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`async with Terminal(argv) as terminal`: `shown` is the screen, `type` the keyboard."""

    def __init__(self, argv: Sequence[str], columns: int = 150) -> None:
        self._argv = argv
        self._columns = columns
        self._output = bytearray()
        self._seen = 0

    async def __aenter__(self) -> Self:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self._columns, 0, 0))
        self.process: Process = await asyncio.create_subprocess_exec(
            *self._argv,
            env={**os.environ, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C comes from the terminal
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    @property
    def shown(self) -> str:
        """Everything written to the screen so far, without colors and cursor movements."""
        return _CONTROL.sub("", self._output.decode("utf-8", "replace"))

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    async def expect(self, text: str) -> None:
        """Wait until `text` is shown after the text expected before."""

        await until(lambda: text in self.shown[self._seen :] or self.process.returncode is not None)
        found = self.shown.find(text, self._seen)
        assert found >= 0, f"{text!r} is not in: {self.shown[self._seen :]}"
        self._seen = found + len(text)

    def type(self, text: str) -> None:
        """Press keys; "\\n" is Enter and "\\x03" Ctrl-C."""
        os.write(self._master, text.encode())

    async def type_hidden(self, text: str) -> None:
        """Type a secret once the terminal no longer echoes; input typed before that is discarded."""

        await until(lambda: not self.echoes)
        self.type(text)

    async def end(self) -> int:
        """Wait until the command ends; returns its exit code."""
        return await asyncio.wait_for(self.process.wait(), 30)

    def _read(self) -> None:
        try:
            self._output += os.read(self._master, 65536)
        except OSError:  # EIO: the command has closed its side
            asyncio.get_running_loop().remove_reader(self._master)
