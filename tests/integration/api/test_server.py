"""The server around the application: how it binds its port and how it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from saveany.api.server import ApiServer, bind, serve
from saveany.config import Config
from saveany.errors import ConfigError
from tests.fixtures.servers import quiet_port
from tests.fixtures.waiting import until
from tests.integration.api.conftest import AUTH, create


def test_the_error_about_a_used_port_names_the_option() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} is used by another program.*--port.*api\.port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_the_error_about_an_unusable_host_names_the_option(host: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.host"):
        bind(host, 0)


def test_small_responses_are_sent_at_once() -> None:
    """Without this option the second part of a response waits for 40 ms."""
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_the_first_response_after_a_quiet_time_has_the_present_date(
    server: ApiServer, live: httpx.AsyncClient
) -> None:
    server.server_state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
    reply = await live.get("/health")
    sent = parsedate_to_datetime(reply.headers["date"])
    assert abs((datetime.now(UTC) - sent).total_seconds()) < 60
    assert not reply.headers.get("server")


async def test_a_signal_ends_the_server_and_its_streams(server: ApiServer, live: httpx.AsyncClient) -> None:
    task_id = await create(live)
    async with live.stream("GET", f"/api/v1/tasks/{task_id}/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: snapshot"
        server.handle_exit(signal.SIGTERM, None)
        assert [line async for line in lines if line.startswith("event:")] == []
    with pytest.raises(httpx.ConnectError):
        await live.get("/health")


@pytest.mark.usefixtures("db")
async def test_the_server_runs_until_sigterm(valkey_url: str, config: Config) -> None:
    port = quiet_port()
    api = config.api.model_copy(update={"host": "127.0.0.1", "port": port})
    running = asyncio.create_task(serve(config.model_copy(update={"api": api}), valkey_url))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=AUTH) as client:

        async def answers() -> bool:
            assert not running.done(), running
            try:
                return (await client.get("/api/v1/tasks")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await running
