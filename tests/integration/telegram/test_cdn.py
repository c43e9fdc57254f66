"""Files on a CDN of Telegram are read there and verified. If the CDN fails, Telegram itself sends them."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from telethon.crypto import rsa

from saveany.sandbox import Sandbox, handshake, samples
from saveany.sandbox.cdn import CDN_DC, Cdn
from saveany.sandbox.content import MIB
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.telegram.media import Media
from tests.integration.telegram.conftest import Sink, Start, fetch
from tests.integration.telegram.test_network import bad_server

BIG, SMALL, ELSEWHERE, PHOTO = 1005, 1004, 1013, 1008
LINKS = {BIG: "127", SMALL: "126", ELSEWHERE: "135", PHOTO: "130"}


@pytest.fixture
async def cdn(sandbox: Sandbox) -> Cdn:
    return await sandbox.open_cdn(BIG, SMALL, ELSEWHERE, PHOTO)


async def media_of(accounts: Accounts, file: int) -> Media:
    [media] = await accounts.resolve(parse(f"https://t.me/channel/{LINKS[file]}"))
    return media


async def download(accounts: Accounts, file: int) -> None:
    assert (await fetch(accounts, await media_of(accounts, file))).sha256 == samples.SHA256[file]


def from_cdn(sandbox: Sandbox) -> int:
    return sandbox.counters.bytes(method="upload.getCdnFile")


def from_home(sandbox: Sandbox) -> int:
    return sandbox.counters.bytes(method="upload.getFile")


@pytest.mark.parametrize("file", [BIG, SMALL, ELSEWHERE, PHOTO])
async def test_a_file_is_read_from_the_cdn(sandbox: Sandbox, cdn: Cdn, start: Start, file: int) -> None:
    accounts = await start(bot=True)
    await download(accounts, file)
    assert from_cdn(sandbox) == sandbox.world.files[file].content.size
    assert from_home(sandbox) == 0
    trusted = handshake.fingerprint(cdn.rsa)
    assert trusted not in rsa._server_keys  # the CDN's key opens no other connection


async def test_files_outside_of_the_cdn_need_no_extra_requests(
    sandbox: Sandbox, cdn: Cdn, start: Start
) -> None:
    cdn.files.clear()
    await download(await start(bot=True), BIG)
    assert sandbox.counters.requests(method="upload.getFile", file=BIG) == 64
    assert sandbox.counters.requests(method="help.getCdnConfig") == 0


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (1000, 70_000), (MIB - 1, 2), (5 * MIB + 130_000, 3 * MIB), (64 * MIB - 10, 10)],
)
async def test_ranges_are_read_from_the_cdn(
    sandbox: Sandbox, cdn: Cdn, start: Start, offset: int, length: int
) -> None:
    accounts = await start(bot=True)
    media = await media_of(accounts, BIG)
    async with aclosing(accounts.read(media, offset, length)) as pieces:
        data = b"".join([piece async for piece in pieces])
    assert data == sandbox.world.files[BIG].content.read(offset, length)
    assert from_home(sandbox) == 0


async def test_a_file_dropped_by_the_cdn_is_requested_again(sandbox: Sandbox, cdn: Cdn, start: Start) -> None:
    cdn.forget([SMALL])
    await download(await start(bot=True), SMALL)
    assert sandbox.counters.requests(method="upload.reuploadCdnFile") >= 1
    assert from_home(sandbox) == 0


async def test_an_expired_token_is_renewed(sandbox: Sandbox, cdn: Cdn, start: Start) -> None:
    accounts = await start(bot=True)
    media = await media_of(accounts, BIG)
    async with aclosing(accounts.read(media, 0, 64 * MIB)) as pieces:
        data = [await anext(pieces)]
        cdn.generation += 1
        data += [piece async for piece in pieces]
    assert b"".join(data) == sandbox.world.files[BIG].content.read(0, 64 * MIB)
    assert from_home(sandbox) == 0


@pytest.mark.parametrize("fault", ["tamper", "short=16", "drop", "error=500:NO", "flood_wait=1", "corrupt"])
@pytest.mark.parametrize("count", [2, 1000])
async def test_if_the_cdn_fails_telegram_sends_the_file(
    sandbox: Sandbox, cdn: Cdn, start: Start, fault: str, count: int
) -> None:
    """Temporary failures are overcome; after lasting ones Telegram itself sends the file."""
    accounts = await start(bot=True)
    made = sandbox.faults.add(f"{fault},method=upload.getCdnFile,count={count}")
    await download(accounts, SMALL)
    assert made.fired >= 2
    assert (from_home(sandbox) > 0) is (count == 1000)


@pytest.mark.parametrize("method", ["upload.getCdnFile", "upload.getCdnFileHashes"])
async def test_flood_waits_of_the_cdn_are_respected(
    sandbox: Sandbox, cdn: Cdn, start: Start, method: str
) -> None:
    accounts = await start(bot=True)
    media, waits, sink = await media_of(accounts, BIG), list[float](), Sink(64 * MIB)
    made = sandbox.faults.add(f"flood_wait=2,method={method},count=1")
    await accounts.download(media, sink.write, on_wait=waits.append)
    assert made.fired == 1
    assert [round(wait) for wait in waits] == [2]


async def test_an_unreachable_cdn_is_bypassed(sandbox: Sandbox, cdn: Cdn, start: Start) -> None:
    await sandbox.centers[CDN_DC].unplug()
    await download(await start(bot=True), SMALL)
    assert from_home(sandbox) == sandbox.world.files[SMALL].content.size


async def test_a_dead_address_of_the_cdn_is_skipped(sandbox: Sandbox, cdn: Cdn, start: Start) -> None:
    await sandbox.centers[CDN_DC].unplug()
    async with bad_server(drops=True) as bad:
        sandbox.advertise(CDN_DC, "127.0.0.1", bad.port, cdn=True)
        await sandbox.listen(CDN_DC, cdn=True)
        await download(await start(bot=True), SMALL)
    assert from_home(sandbox) == 0


async def test_a_server_with_another_key_is_not_accepted_as_cdn(
    sandbox: Sandbox, cdn: Cdn, start: Start
) -> None:
    impostor: Any = generate_private_key(public_exponent=65537, key_size=2048)
    sandbox.centers[CDN_DC].rsa = impostor
    await download(await start(bot=True), SMALL)
    assert from_cdn(sandbox) == 0


async def test_a_revoked_cdn_key_is_replaced(sandbox: Sandbox, cdn: Cdn, start: Start) -> None:
    accounts = await start(bot=True)
    await download(accounts, SMALL)
    cdn_keys = [key for key in sandbox._shared.key_store._keys.values() if key.dc == CDN_DC]
    for key in cdn_keys:
        del sandbox._shared.key_store._keys[key.id]
    for connection in sandbox.centers[CDN_DC].connections:
        connection.drop()
    await download(accounts, SMALL)
    assert from_home(sandbox) == 0
