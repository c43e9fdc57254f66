"""The response that delivers a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Never

import pytest

from saveany.delivery.content import Piece
from saveany.delivery.response import ContentResponse
from saveany.errors import Gone
from tests.fixtures.contents import BytesContent

SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "headers": [], "path": "/"}


class Slow(BytesContent):
    """A file whose first byte does not arrive."""

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        await asyncio.Event().wait()
        yield b""


async def connected() -> Never:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def test_a_link_that_is_revoked_before_the_first_byte_gets_the_error_as_its_response() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def revoked() -> Never:
        raise Gone("this link was revoked")

    content = Slow(b"1")
    async with asyncio.timeout(20):
        with pytest.raises(Gone):
            await ContentResponse(content, stop=revoked)(SCOPE, connected, send)
    assert (sent, content.closed) == ([], 1)
