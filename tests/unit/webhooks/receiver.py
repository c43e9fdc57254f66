"""A receiver of webhooks on loopback that records requests and sends the given reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.fixtures.tcp import tcp_server

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: str


class Receiver:
    """Replies 200 unless `answer` is replaced."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Answer = reply(200)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            line, *fields = head.decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(line, headers, body.decode()))
            await self.answer(writer)


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A plain answer; underscores in header names become dashes."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return answer


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with tcp_server(receiver.handle) as server:
        receiver.port = server.port
        yield receiver
