"""A sandbox data center, and accounts that use it together with a Valkey."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from saveany.config.schema import TelegramConfig
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.key_store import KeyStore
from saveany.sandbox.world import Chat
from saveany.store import Db
from saveany.store.telegram import TelegramStore
from saveany.telegram.accounts import Accounts
from saveany.telegram.bot_client import BotClient
from saveany.telegram.media import Media
from saveany.telegram.pool import PoolLimits
from saveany.telegram.uploads import Uploader
from storages.base import Services
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import TelegramStorage
from tests.sandbox.clients import Person, person

#: As in use, but a test never waits long.
LIMITS = PoolLimits(part_seconds=15.0, idle_seconds=0.1, max_flood_seconds=3.0, max_tries=5)


@pytest.fixture
def redis(db: Db) -> Redis:
    return db.redis


def store_of(redis: Redis) -> TelegramStore:
    """The store shared by Telegram accounts, in this Redis."""
    return TelegramStore(Db(redis))


@pytest.fixture(scope="session")
def rsa_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One RSA key for all tests: generating one takes longer than most of them."""
    folder = tmp_path_factory.mktemp("vault")
    return KeyStore(folder).folder / "rsa.pem"


@pytest.fixture
async def sandbox(rsa_key: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """A data center without faults until a test adds some."""
    state = tmp_path_factory.mktemp("sandbox")
    shutil.copy(rsa_key, state)
    async with Sandbox(state) as running:
        running.faults.clear()
        yield running


def table(sandbox: Sandbox, *, bot: bool = False, user: bool = False, **changes: Any) -> TelegramConfig:
    """The `[telegram]` table that reaches the sandbox."""
    fields: dict[str, Any] = {
        "dc_id": sandbox.dc_id,
        "dc_address": sandbox.address,
        "dc_public_key": sandbox.public_key,
    }
    if bot:
        fields["token"] = sandbox.bot_token
    if user:
        fields["accounts"] = [{"name": "me", "session": sandbox.user_session}]
    return TelegramConfig.model_validate(fields | changes)


Start = Callable[..., Any]


@pytest.fixture
async def start(sandbox: Sandbox, tmp_path: Path, redis: Redis) -> AsyncIterator[Start]:
    """`await start(bot=True)` starts accounts, which are closed after the test."""
    running: list[Accounts] = []

    async def make(
        config: TelegramConfig | None = None,
        *,
        data_dir: Path = tmp_path,
        limits: PoolLimits = LIMITS,
        **which: Any,
    ) -> Accounts:
        accounts = Accounts(config or table(sandbox, **which), data_dir, store_of(redis), limits=limits)
        running.append(accounts)
        await accounts.start()
        return accounts

    yield make
    for accounts in running:
        await accounts.close()


@pytest.fixture
async def bot_client(sandbox: Sandbox, tmp_path: Path, redis: Redis) -> AsyncIterator[BotClient]:
    """A bot that is connected to the sandbox."""
    bot_client = BotClient(table(sandbox, bot=True), tmp_path, store_of(redis))
    await bot_client.open()
    yield bot_client
    await bot_client.close()


@pytest.fixture
async def anna(sandbox: Sandbox) -> AsyncIterator[Person]:
    """A person who writes to the bot with an unmodified client."""
    async with person(sandbox) as one:
        yield one


class Sink:
    """Collects a download and checks the order of its parts."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.offsets: list[int] = []
        self.busy = 0
        self.most_busy = 0

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0)
        self.data[offset : offset + len(data)] = data
        self.offsets.append(offset)
        self.busy -= 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def inbox(sandbox: Sandbox) -> Chat:
    """A chat that a bot and a user may post to."""
    members = {samples.BOT.id, samples.USER.id}
    return sandbox.world.add_chat(Chat(id=1600000005, title="In", username="inbox", members=members))


@pytest.fixture
async def accounts(start: Start, inbox: Chat) -> Accounts:
    """A bot and a user, for tests that need no other accounts."""
    started: Accounts = await start(bot=True, user=True)
    return started


async def fetch(accounts: Accounts, media: Media) -> Sink:
    """Download a file and check that every byte arrives exactly once."""
    sink = Sink(media.size)
    await accounts.download(media, sink.write)
    assert sorted(sink.offsets) == list(range(0, media.size, 1 << 20))
    return sink


@pytest.fixture
def opened(accounts: Accounts, tmp_path: Path) -> Callable[..., TelegramStorage]:
    """Opens a chat as a storage with some options."""

    def make(chat: str | int = "@inbox", **options: Any) -> TelegramStorage:
        fields = {"name": "tg", "type": "telegram", "chat_id": chat, "rate_limit": 0, **options}
        services = Services(scratch=tmp_path / "scratch", message_sender=Uploader(accounts, LIMITS))
        return TelegramStorage(TelegramStorageOptions.model_validate(fields), services)

    return make
