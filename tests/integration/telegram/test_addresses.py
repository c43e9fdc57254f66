"""A data center with several addresses, some unreachable, is reached quickly at a working one."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from telethon.tl import types as tl

from saveany.errors import Offline
from saveany.sandbox import Sandbox
from saveany.telegram import data_centers
from saveany.telegram.accounts import Accounts
from saveany.telegram.addresses import Address, AddressBook, Purpose, usable
from saveany.telegram.links import parse
from saveany.telegram.session import Login, SessionFolder
from tests.integration.telegram.conftest import LIMITS, Start, fetch, table
from tests.integration.telegram.test_network import bad_server

FILE, ELSEWHERE = parse("https://t.me/channel/126"), parse("https://t.me/channel/135")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_centers, "CONNECT_SECONDS", 3.0)


async def download(accounts: Accounts, link: Any) -> None:
    [media] = await accounts.resolve(link)
    await fetch(accounts, media)


@pytest.mark.parametrize(("dc", "link"), [(2, FILE), (4, ELSEWHERE)])
@pytest.mark.parametrize("silent", [True, False])
async def test_a_dead_media_address_is_skipped(
    sandbox: Sandbox, start: Start, dc: int, link: Any, silent: bool
) -> None:
    async with bad_server(drops=False) as bad:
        sandbox.advertise(dc, "127.0.0.1", bad.port if silent else 9, media_only=True)
        await sandbox.listen(dc, media_only=True)
        accounts = await start(bot=True)
        await download(accounts, link)
        asked = bad.connections
        await asyncio.sleep(2 * LIMITS.idle_seconds)  # its connections are closed
        await download(accounts, link)
        assert bad.connections == asked  # it is not asked again


async def test_main_address_serves_when_all_media_addresses_are_dead(sandbox: Sandbox, start: Start) -> None:
    sandbox.advertise(2, "127.0.0.1", 9, media_only=True)
    sandbox.advertise(2, "::1", 9, media_only=True)
    await download(await start(bot=True), FILE)


@pytest.mark.parametrize("command", ["--dead-address=4 --media-address=4", "--cdn=1013"])
async def test_sandbox_command_has_more_addresses(
    start: Start, sandbox: Sandbox, tmp_path: Path, command: str
) -> None:
    arguments = [sys.executable, "-m", "saveany.sandbox", "--json", *command.split()]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        facts = json.loads(await process.stdout.readline())["telegram"]
        config = table(
            sandbox,
            dc_address=facts["address"],
            dc_public_key=Path(facts["public_key_file"]).read_text(),
            token=facts["bot_token"],
        )
        await download(await start(config, data_dir=tmp_path / "other"), ELSEWHERE)
    finally:
        process.terminate()
        await process.wait()


async def test_unsuitable_addresses_are_ignored(sandbox: Sandbox, start: Start) -> None:
    async with bad_server(drops=False) as bad:
        for flag in ("tcpo_only", "cdn"):
            sandbox.advertise(2, "127.0.0.1", bad.port, **{flag: True})
        await download(await start(bot=True), FILE)
        assert bad.connections == 0


async def test_an_address_with_ipv6_is_used(sandbox: Sandbox, start: Start) -> None:
    address = await sandbox.listen(2, "::1")
    accounts = await start(bot=True)
    await sandbox.centers[2].unplug()
    await download(accounts, FILE)  # both the control connection and those for files
    session = accounts.client("bot").session
    assert (session.server_address, session.port) == address


async def test_an_address_that_falls_silent_is_abandoned(sandbox: Sandbox, start: Start) -> None:
    """It accepts connections but sends no part."""
    address, main = await sandbox.listen(2, media_only=True), sandbox.addresses[2]
    accounts = await start(bot=True, limits=replace(LIMITS, part_seconds=1.0))
    await download(accounts, parse("https://t.me/channel/123"))
    before = sandbox.counters.by("connection", method="upload.getFile")
    sandbox.faults.add("silent,method=upload.getFile,count=1")
    await download(accounts, FILE)
    after = sandbox.counters.by("connection", method="upload.getFile")
    assert len(after) > len(before)
    assert accounts.client("bot").data_centers.address_book.ordered([address, main]) == [main, address]


async def test_a_dead_main_address_is_replaced_also_at_the_next_start(
    sandbox: Sandbox, start: Start, tmp_path: Path, redis: Redis
) -> None:
    await sandbox.listen(2)
    first = await start(user=True)
    await first.resolve(FILE)
    await first.close()
    await sandbox.centers[2].unplug()
    second = await start(user=True)
    assert second.problems == {}
    await download(second, FILE)


async def test_a_login_at_an_ipv6_address_keeps_the_address(
    sandbox: Sandbox, start: Start, tmp_path: Path
) -> None:
    """Telethon would use its built-in address of the real Telegram."""
    host, port = await sandbox.listen(2, "::1")
    given = Login.from_string(sandbox.user_session)
    SessionFolder(tmp_path).save("me", Login(2, host, port, given.key, given.user_id))
    config = table(sandbox, user=True, dc_address=f"[{host}]:{port}")
    accounts = await start(config)
    await sandbox.centers[2].unplug()
    await download(accounts, FILE)


async def test_the_address_of_the_login_is_tried_again_after_all_were_dead(
    sandbox: Sandbox, start: Start
) -> None:
    """Telegram does not list it; it is known only from the login."""
    center = sandbox.centers[2]
    port = await center.start(0)
    accounts = await start(table(sandbox, user=True, dc_address=f"127.0.0.1:{port}"))
    assert accounts.ready == ["me"]
    await center.unplug()
    await center.unplug()
    with pytest.raises(Offline):
        await accounts.resolve(FILE)
    await center.start(port)
    await accounts.resolve(FILE)


def option(port: int, **flags: Any) -> Any:
    host = "::1" if flags.get("ipv6") else "127.0.0.1"
    return tl.DcOption(flags.pop("dc", 2), host, port, **flags)


@pytest.mark.parametrize(
    ("purpose", "proxied", "ports"),
    [
        (Purpose.CONTROL, False, [1, 3, 2]),
        (Purpose.CONTROL, True, [3, 1, 2]),
        (Purpose.FILES, False, [4, 5, 1, 3, 2]),
        (Purpose.CDN, False, [6]),
    ],
)
def test_addresses_are_tried_in_order_of_preference(
    purpose: Purpose, proxied: bool, ports: list[int]
) -> None:
    options = [
        option(2, static=True, ipv6=True),
        option(3, static=True),
        option(1),
        option(5, media_only=True, ipv6=True),
        option(4, media_only=True),
        option(6, cdn=True),
        option(7, tcpo_only=True),
        option(8, secret=b"x"),
        option(9, dc=4),
    ]
    assert [port for _, port in usable(options, 2, purpose, proxied=proxied)] == ports


ADDRESSES: list[Address] = [("host", port) for port in range(4)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["mark_working", "mark_failed"]), st.sampled_from(ADDRESSES)), max_size=12
    )
)
def test_failed_addresses_are_tried_last_for_a_while(history: list[tuple[str, Address]]) -> None:
    now = 1.0
    book, failed = AddressBook(lambda: now), dict[Address, float]()
    for what, address in history:
        now += 1
        getattr(book, what)(address)
        failed[address] = now if what == "mark_failed" else 0
    order = sorted(ADDRESSES, key=lambda each: failed.get(each, 0))
    assert book.ordered(ADDRESSES + ADDRESSES) == order
    now += 10 * 86_400
    assert book.ordered(ADDRESSES) == ADDRESSES


def test_addresses_that_failed_for_days_are_still_tried() -> None:
    book = AddressBook(lambda: 1.0)
    for _ in range(5000):
        book.mark_failed(ADDRESSES[0])
    assert book.ordered(ADDRESSES) == [*ADDRESSES[1:], ADDRESSES[0]]
