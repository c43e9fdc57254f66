"""Telegram through proxies: a broken proxy is waited for, whichever connection it affects."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from saveany.errors import Retryable
from saveany.sandbox import Sandbox
from saveany.telegram import account_set, client, data_centers
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from tests.fixtures.proxies import BAD, Behavior, Http, ScriptedReplies, Socks4, Socks5, proxy
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import LIMITS, fetch, store_of, table

LINK = parse("https://t.me/channel/123")
#: A proxy that lets everybody through to a web server of its own, as those of hotels do.
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example/login\r\nContent-Length: 0\r\n\r\n"


def accounts_through(sandbox: Sandbox, folder: Path, url: str, redis: Redis | None = None) -> Accounts:
    return Accounts(
        table(sandbox, bot=True), folder, store_of(redis) if redis else None, proxy=url, limits=LIMITS
    )


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_proxy_is_a_problem_of_the_account(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    behavior, said = BAD[name]
    async with proxy(behavior) as bad:
        accounts = accounts_through(sandbox, tmp_path, bad.url())
        await accounts.start()
        try:
            assert str(accounts.problems["bot"]).startswith(
                "Telegram account bot: Telegram cannot be reached: the pr"
            )
            with pytest.raises(Retryable, match=f"cannot be reached: {said}"):
                await accounts.resolve(LINK)
        finally:
            await accounts.close()


@pytest.mark.parametrize("noise", [PORTAL, b"\x00" * 4096, b"\xff" * 4096, b"\x28\x00\x00\x00" * 99])
async def test_another_server_in_place_of_telegram_is_reported(
    sandbox: Sandbox, tmp_path: Path, noise: bytes
) -> None:
    said = (b"HTTP/1.1 200 Connection established\r\n\r\n", noise)
    async with proxy(ScriptedReplies(said)) as bad:
        accounts = accounts_through(sandbox, tmp_path, bad.url())
        await accounts.start()
        assert accounts.problems["bot"]
        with pytest.raises(Retryable):
            await accounts.resolve(LINK)
        await accounts.close()


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_a_proxy_that_stalls_is_given_up(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(data_centers, "CONNECT_SECONDS", 0.3)
    async with proxy(ScriptedReplies((b"",), stalls=True, scheme=scheme)) as bad:
        accounts = accounts_through(sandbox, tmp_path, bad.url())
        await accounts.start()
        with pytest.raises(Retryable, match="cannot be reached: the proxy does not reply in time"):
            await accounts.resolve(LINK)
        await accounts.close()


@pytest.mark.parametrize(
    ("good", "login"),
    [
        (Socks5(login="me:p@ss: wörd".encode()), "me:p%40ss%3A%20w%C3%B6rd"),
        (Socks4(), ""),
        (Http(login=b"me:p@ss"), "me:p%40ss"),
    ],
)
async def test_a_file_is_downloaded_through_a_proxy(
    sandbox: Sandbox, tmp_path: Path, good: Behavior, login: str
) -> None:
    async with proxy(good) as running:
        accounts = accounts_through(sandbox, tmp_path, running.url(login))
        await accounts.start()
        [media] = await accounts.resolve(LINK)
        await fetch(accounts, media)
        assert running.connections >= 2  # for requests, and for parts of files
        await accounts.close()


@pytest.mark.parametrize("name", ["socks5 reply 2", "socks5 hangs up after its greeting", "socks4 refuses"])
async def test_a_download_survives_an_outage_of_the_proxy(
    sandbox: Sandbox, tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Both the connections for parts and the one for requests recover with the proxy."""
    monkeypatch.setattr(account_set, "_MAINTENANCE_SECONDS", 0.1)
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.05)
    bad, said = BAD[name]
    good: Behavior = Socks5() if bad.scheme == "socks5" else Socks4()
    async with proxy(good) as running:
        accounts = accounts_through(sandbox, tmp_path, running.url(), redis)
        await accounts.start()
        [media] = await accounts.resolve(LINK)
        running.behavior = bad
        running.drop()
        with pytest.raises(Retryable, match=f"cannot be reached: {said}"):
            await asyncio.wait_for(fetch(accounts, media), 60)
        with pytest.raises(Retryable, match=f"cannot be reached: {said}"):
            await accounts.resolve(parse("https://t.me/channel/124"))
        running.behavior = good
        await until(lambda: bool(accounts.ready))
        await fetch(accounts, media)
        await accounts.close()
