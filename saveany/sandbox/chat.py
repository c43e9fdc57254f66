"""A chat with the bot on a terminal: a second, unmodified Telethon client that is the sample person."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from telethon import TelegramClient, errors, events
from telethon.crypto import rsa
from telethon.sessions import StringSession

from saveany.sandbox.server import Sandbox

#: Shown at the start of the chat.
HELP = (
    "You are chatting with the bot. Type a link, such as https://t.me/channel/123, or /help; a number "
    "presses that button; !file PATH sends a file; Ctrl-D ends."
)
_BOT = "sandbox_bot"


class TerminalChat:
    """A chat between the sample person and the bot. `show` prints a line."""

    def __init__(self, sandbox: Sandbox, show: Callable[[str], None]) -> None:
        rsa.add_key(sandbox.public_key, old=False)
        self._client = TelegramClient(StringSession(sandbox.person_session), 1, "hash")
        self._print = show
        self._shown: dict[int, list[str]] = {}  # message id -> its lines
        self._with_buttons: Any = None  # the newest message with buttons

    async def run(self, lines: AsyncIterator[str]) -> None:
        """Send each typed line to the bot until `lines` end."""
        self._client.add_event_handler(self._show, events.NewMessage(incoming=True))
        self._client.add_event_handler(self._show, events.MessageEdited(incoming=True))
        await self._client.connect()
        try:
            self._print(HELP)
            async for line in lines:
                if line.strip():
                    await self._act(line.strip())
        finally:
            await self._client.disconnect()

    async def _act(self, line: str) -> None:
        try:
            if line.isdecimal():
                await self._press(int(line))
            elif line.startswith("!file "):
                await self._send_file(Path(line.removeprefix("!file ").strip()))
            else:
                await self._client.send_message(_BOT, line)
        except errors.RPCError as error:
            self._print(f"! Telegram refused this: {error}")

    async def _press(self, number: int) -> None:
        buttons = self._buttons(self._with_buttons)
        if not 1 <= number <= len(buttons):
            self._print(f"! There is no button {number}.")
            return
        reply = await buttons[number - 1].click()
        if text := getattr(reply, "message", None):
            self._print(f"  ({text})")

    async def _send_file(self, path: Path) -> None:
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            self._print(f"! Cannot send {path}: {error.strerror or error}.")
            return
        file = BytesIO(content)
        file.name = path.name
        await self._client.send_file(_BOT, file, force_document=True)

    async def _show(self, event: Any) -> None:
        """Show a new message, or the changed lines of an edited one."""
        message = event.message
        lines = [line for line in (message.raw_text or "").splitlines() if line.strip()]
        if message.file:
            lines.append(f"[{message.file.name or message.file.mime_type}, {message.file.size} bytes]")
        buttons = [f"[{n}] {button.text}" for n, button in enumerate(self._buttons(message), 1)]
        known = self._shown.get(message.id, [])
        self._shown[message.id] = [*lines, *buttons]
        if buttons:
            self._with_buttons = message
        new = [line for line in lines if line not in known]
        for line in new:
            self._print(f"bot: {line}")
        if buttons and (new or buttons != [line for line in known if line.startswith("[")]):
            self._print("     " + "  ".join(buttons))

    def _buttons(self, message: Any) -> list[Any]:
        return [button for row in getattr(message, "buttons", None) or () for button in row]


async def typed_lines() -> AsyncIterator[str]:
    """The lines typed on stdin, until its end."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    # Files and /dev/null cannot be polled with epoll, so they are read directly.
    if not (sys.stdin.isatty() or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        for typed in sys.stdin:
            yield typed
        return
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            yield line.decode("utf-8", "replace")
    finally:
        transport.close()
