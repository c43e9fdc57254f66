"""Servers with faulty connections cause neither hangs nor busy loops."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
from telethon.network import mtprotostate

from saveany.errors import Retryable
from saveany.sandbox import Sandbox
from saveany.telegram import client, data_centers
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from tests.fixtures.tcp import TcpServer, hang_up, say_nothing, tcp_server
from tests.integration.telegram.conftest import Start, fetch, table

LINK = parse("https://t.me/channel/123")


def bad_server(*, drops: bool) -> AbstractAsyncContextManager[TcpServer]:
    """A server that never sends anything."""
    return tcp_server(hang_up if drops else say_nothing)


@pytest.mark.parametrize("drops", [False, True])
async def test_a_server_that_is_silent_or_disconnects_is_given_up(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: bool
) -> None:
    monkeypatch.setattr(data_centers, "CONNECT_SECONDS", 0.3)
    async with bad_server(drops=drops) as bad:
        config = table(sandbox, bot=True, dc_address=f"127.0.0.1:{bad.port}")
        accounts = Accounts(config, tmp_path)
        began = time.monotonic()
        await accounts.start()
        assert time.monotonic() - began < 5
        assert accounts.ready == []
        with pytest.raises(Retryable):
            await accounts.resolve(LINK)
        assert 3 <= bad.connections <= 6  # three tries; from Python 3.13 on Telethon may ask twice in each
        await accounts.close()


async def test_a_refused_connection_is_reported(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(table(sandbox, bot=True, dc_address="127.0.0.1:9"))
    assert "cannot be reached; check the network and the proxy" in str(accounts.problems["bot"])


async def test_a_lost_control_connection_is_reopened(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True)
    for number in range(3):
        for connection in list(sandbox.centers[2].connections):
            connection.drop()
        await accounts.resolve(parse(f"https://t.me/channel/{123 + number}"))


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_jump_is_detected(
    sandbox: Sandbox, start: Start, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    accounts = await start(bot=True)
    monkeypatch.setattr(client, "CALL_SECONDS", 1.0)
    jumped = SimpleNamespace(time=lambda: time.time() + 3600 * hours)
    monkeypatch.setattr(mtprotostate, "time", jumped)
    await accounts.resolve(LINK)


async def test_a_disconnect_during_a_request_is_overcome(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True)
    fault = sandbox.faults.add("drop,method=channels.getMessages,count=2")
    await accounts.resolve(LINK)
    assert fault.fired == 2


async def test_a_server_that_disconnects_at_every_request_is_given_up(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True)
    fault = sandbox.faults.add("drop,method=channels.getMessages")
    with pytest.raises(Retryable, match="connection to Telegram was lost"):
        await accounts.resolve(LINK)
    assert fault.fired <= 3


async def test_a_request_without_a_reply_times_out(
    sandbox: Sandbox, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 0.2)
    accounts = await start(bot=True)
    sandbox.faults.add("silent,method=channels.getMessages")
    with pytest.raises(Retryable, match="did not reply in time"):
        await accounts.resolve(LINK)


async def test_a_restarted_data_center_is_reconnected(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with Sandbox(state=state) as first:
        accounts = Accounts(table(first, bot=True), tmp_path)
        await accounts.start()
        [media] = await accounts.resolve(LINK)
        await fetch(accounts, media)
    async with Sandbox(state=state):
        await fetch(accounts, media)
        await accounts.resolve(LINK)
        await accounts.close()
