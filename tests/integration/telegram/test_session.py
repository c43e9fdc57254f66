"""What is stored of a login, and what is never shown of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from telethon.tl import types

from saveany.errors import Retryable
from saveany.sandbox import Sandbox
from saveany.telegram import session
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.telegram.session import Login, Session, SessionFolder
from tests.integration.telegram.conftest import fetch, store_of, table

HOME = Login(2, "127.0.0.1", 443, b"k" * 256, 5, "Someone")
OTHER = Login(2, "127.0.0.1", 443, b"o" * 256, 5, "Someone")


@given(
    login=st.builds(
        Login,
        dc_id=st.integers(1, 5),
        host=st.ip_addresses().map(str),
        port=st.integers(1, 65535),
        key=st.binary(min_size=256, max_size=256),
        user_id=st.integers(0, 2**52),
        display=st.text(),
    )
)
def test_a_login_is_read_as_it_was_saved(tmp_path_factory: pytest.TempPathFactory, login: Login) -> None:
    folder = SessionFolder(tmp_path_factory.getbasetemp() / "kept")
    folder.save("me", login)
    assert folder.load("me") == login
    assert folder.names() == ["me"]


def test_a_key_is_never_shown() -> None:
    assert "kkkk" not in repr(HOME)


def test_keys_of_other_data_centers_belong_to_their_login(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    folder.save_key("me", 4, HOME, b"foreign")
    assert folder.load_key("me", 4, HOME) == b"foreign"
    assert folder.load_key("me", 4, OTHER) is None
    assert folder.load_key("me", 5, HOME) is None
    folder.forget_key("me", 4)
    assert folder.load_key("me", 4, HOME) is None
    assert folder.names() == []


def test_a_folder_identifies_one_machine(tmp_path: Path) -> None:
    names = {SessionFolder(tmp_path).machine() for _ in range(3)}
    assert len(names) == 1
    assert names != {SessionFolder(tmp_path / "other").machine()}
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["machine"]


async def test_a_lock_has_one_holder_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = most = 0

    async def enter() -> None:
        nonlocal inside, most
        async with SessionFolder(tmp_path).lock("me"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(5)))
    assert most == 1
    monkeypatch.setattr(session, "_LOCK_SECONDS", 0.1)
    async with SessionFolder(tmp_path).lock("me"):
        with pytest.raises(Retryable, match="Another process holds the login lock"):
            await enter()
    await enter()


async def test_access_hashes_belong_to_one_account(redis: Redis) -> None:
    channel = types.Channel(77, "t", types.ChatPhotoEmpty(), None, access_hash=123)
    one = Session(HOME, store_of(redis))
    one.process_entities(types.messages.Chats([channel]))
    await one.flush()
    marked = -1000000000077
    assert await Session(HOME, store_of(redis)).access_hash(marked) == 123
    stranger = Login(2, "127.0.0.1", 443, b"s" * 256, 6)
    assert await Session(stranger, store_of(redis)).access_hash(marked) is None


async def test_without_redis_everything_continues(sandbox: Sandbox, tmp_path: Path) -> None:
    away = Redis.from_url(f"unix://{tmp_path}/nobody.sock")
    accounts = Accounts(table(sandbox, bot=True, user=True), tmp_path, store_of(away))
    await accounts.start()
    assert accounts.ready == ["bot", "me"]
    for link in ("https://t.me/channel/123", "https://t.me/c/1500000002/5"):
        [media] = await accounts.resolve(parse(link))
        await fetch(accounts, media)
    await accounts.close()
    await away.aclose()


async def test_writes_missed_during_an_outage_reach_redis_later(
    valkey_url: str, tmp_path: Path, redis: Redis
) -> None:
    away = Redis.from_url(f"unix://{tmp_path}/nobody.sock")
    mine = Session(HOME, store_of(away))
    mine.process_entities(
        types.messages.Chats([types.Channel(78, "t", types.ChatPhotoEmpty(), None, access_hash=9)])
    )
    await mine.flush()
    await away.aclose()
    mine._store = store_of(redis)
    await mine.flush()
    assert await Session(HOME, store_of(redis)).access_hash(-1000000000078) == 9
