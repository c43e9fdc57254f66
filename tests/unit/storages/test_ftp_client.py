"""Connections to FTP servers that end by themselves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from storages.ftp.client import cut
from tests.fixtures.tcp import connection, tcp_server
from tests.fixtures.waiting import until


async def test_a_connection_that_ended_with_buffered_bytes_can_be_cut() -> None:
    """CPython 3.11 raises AttributeError for a transport that was closed and has sent its buffer since."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 20):
            pass
        ended.set()

    async with tcp_server(serve) as server, connection(server.host, server.port) as (_, writer):
        writer.write(bytes(20 << 20))
        writer.close()
        await ended.wait()
        transport = cast(Any, writer.transport)
        await until(lambda: transport._loop is None)
        cut(cast(Any, SimpleNamespace(writer=writer)))
