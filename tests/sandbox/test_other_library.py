"""The sandbox works with Kurigram, a fork of Pyrogram, which shares no code with Telethon.

It knows no addresses but Telegram's own, so its connections are led to the sandbox here.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pyrogram import Client, handlers, raw
from pyrogram.connection import Connection
from pyrogram.crypto import rsa
from pyrogram.errors import AuthKeyUnregistered

from saveany.sandbox import Sandbox, handshake, samples
from tests.fixtures import leaks
from tests.sandbox.clients import named
from tests.sandbox.clients import user as telethon_user


@pytest.fixture
def trusted(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the sandbox's key the only one known to the library."""
    public = load_pem_public_key(sandbox.public_key.encode())
    assert isinstance(public, RSAPublicKey)
    numbers = public.public_numbers()
    fingerprint = handshake.fingerprint(sandbox.centers[sandbox.dc_id].rsa)
    monkeypatch.setattr(rsa, "server_public_keys", {fingerprint: rsa.PublicKey(numbers.n, numbers.e)})


@asynccontextmanager
async def client(sandbox: Sandbox, folder: Path, **options: Any) -> AsyncIterator[Any]:
    def connect(dc_id: int, server_address: str, port: int, **rest: Any) -> Connection:
        host, number = sandbox.addresses[dc_id]
        return Connection(dc_id=dc_id, server_address=host, port=number, **rest)

    defaults = {"bot_token": sandbox.bot_token, "in_memory": True, "sleep_threshold": 0}
    made = Client(
        "test",
        1,
        "hash",
        workdir=folder,
        connection_factory=connect,
        loop=asyncio.get_running_loop(),
        **{**defaults, **options},
    )
    try:
        async with made:
            yield made
    finally:
        await leaks.close_all()  # the library leaves connections to the garbage collector


pytestmark = pytest.mark.usefixtures("trusted")


async def test_reads_and_downloads(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, tmp_path) as bot:
        assert bot.me.username == samples.BOT.username
        for link, file in ((123, 1001), (130, 1008)):
            message = await bot.get_messages("channel", link)
            content = await bot.download_media(message, in_memory=True)
            assert hashlib.sha256(content.getvalue()).hexdigest() == samples.SHA256[file]
        elsewhere = await bot.get_messages("channel", 135)  # on the other data center
        async for chunk in bot.stream_media(elsewhere, limit=1):
            assert chunk == sandbox.world.files[1013].content.read(0, len(chunk))
        assert sandbox.counters.requests(method="auth.importAuthorization")


async def test_sends_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    async with client(sandbox, tmp_path) as bot, telethon_user(sandbox) as user:
        await user.send_message(samples.BOT.username, "/start")
        message = await bot.send_document(samples.USER.id, named(data, "sent.bin"))
        assert message.document.file_name == "sent.bin"
        received = (await user.get_messages(samples.BOT.username, limit=1))[0]
        assert await user.download_media(received, file=bytes) == data


async def test_receives_messages_also_in_a_new_session(sandbox: Sandbox, tmp_path: Path) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()

    async def hear(_: Any, message: Any) -> None:
        received.put_nowait(message.text)

    async with client(sandbox, tmp_path) as bot, telethon_user(sandbox) as user:
        bot.add_handler(handlers.MessageHandler(hear))
        await user.send_message(samples.BOT.username, "one")
        assert await received.get() == "one"
        sandbox.faults.add("salt,count=1")
        sandbox.renew_sessions(samples.BOT.id)
        assert (await bot.get_me()).is_bot
        await user.send_message(samples.BOT.username, "two")
        assert await received.get() == "two"


async def test_a_revoked_login_is_reported(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, tmp_path) as bot:
        sandbox.faults.add(f"revoke,account={samples.BOT.id},count=1")
        with pytest.raises(AuthKeyUnregistered):
            await bot.invoke(raw.functions.updates.GetState())
