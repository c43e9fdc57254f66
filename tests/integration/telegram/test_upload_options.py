"""The options of a chat as a storage: captions, paths that name chats, and mistakes in a table."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from telethon.tl import types as tl

from saveany.errors import StorageError, StorageUnavailable
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat
from saveany.telegram.target_chats import missing_right
from saveany.telegram.uploads import Uploader
from storages.base import Services
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import TelegramStorage
from tests.integration.telegram.conftest import Start, table
from tests.integration.telegram.uploads import SMALL, Open, key, save, sent


async def test_an_unavailable_account_is_not_replaced_by_another(
    start: Start, sandbox: Sandbox, inbox: Chat
) -> None:
    """Another account would repeat what this one has sent."""
    accounts = await start(table(sandbox, user=True, token="7000000001:wrong"))
    assert accounts.ready == ["me"]
    fields = {"name": "tg", "type": "telegram", "chat_id": "@inbox"}
    storage = TelegramStorage(
        TelegramStorageOptions.model_validate(fields), Services(message_sender=Uploader(accounts))
    )
    with pytest.raises(StorageUnavailable, match="bot token"):
        await save(storage, "a.bin", SMALL)
    with pytest.raises(StorageUnavailable, match="bot token"):
        await storage.probe()
    assert sent(inbox) == []


async def test_the_folder_is_not_a_hashtag(opened: Open, inbox: Chat) -> None:
    await save(opened(), "#a/b#/#c.bin", SMALL)
    assert sent(inbox)[0].text == "#c.bin\na/b"


async def test_a_caption_fits_into_the_limit(opened: Open, inbox: Chat) -> None:
    await save(opened(), "/".join(["x" * 200] * 8 + ["a.bin"]), SMALL)
    assert len(sent(inbox)[0].text) == 1024


async def test_a_path_may_name_the_chat(opened: Open, sandbox: Sandbox, inbox: Chat) -> None:
    storage = opened("sandboxforum", topic=10, chat_in_path=True)
    await save(storage, "@inbox/d/a.bin", SMALL)
    await save(storage, "-1001600000005/b.bin", SMALL, key(item=1))
    await save(storage, "inbox/c.bin", SMALL, key(item=2))
    assert [(message.text, message.thread) for message in sent(inbox)] == [
        ("a.bin\nd", None),
        ("b.bin", None),
    ]
    assert sandbox.world.chats[samples.FORUM].newest_first()[0].text == "c.bin\ninbox"
    await save(opened("sandboxforum"), "@inbox/a.bin", SMALL, key(item=3))
    assert len(sent(inbox)) == 2


@pytest.mark.parametrize("chat", ["", "You", "a b", "@1abc", "https://t.me/x", 0, "--1", "me\n"])
def test_invalid_chats_are_refused(chat: str | int) -> None:
    with pytest.raises(ValidationError, match="chat_id must be"):
        TelegramStorageOptions.model_validate({"name": "tg", "type": "telegram", "chat_id": chat})


def test_options_that_contradict_each_other_are_refused() -> None:
    table = {"name": "tg", "type": "telegram", "chat_id": "me", "force_file": True, "send_as": "media"}
    with pytest.raises(ValidationError, match="remove one"):
        TelegramStorageOptions.model_validate(table)


def test_tables_of_earlier_versions_load() -> None:
    table = {
        "name": "tg",
        "type": "telegram",
        "enable": True,
        "chat_id": "1008736",
        "force_file": True,
        "rate_limit": 5,
        "rate_burst": 2,
        "skip_large": True,
        "split_large_video": True,
        "split_size_mb": 2000,
    }
    assert TelegramStorageOptions.model_validate(table).split_size_mb == 2000


@pytest.mark.parametrize(
    ("chat", "options", "words"),
    [
        ("@nobody_here", {}, "nobody_here"),
        ("@channel", {}, "may not write in the chat"),
        (-1009999999999, {}, "storage 'tg'"),
        ("@inbox", {"account": "other"}, 'There is no Telegram account "other"'),
    ],
)
async def test_invalid_options_are_reported(opened: Open, chat: str | int, options: Any, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        await save(opened(chat, **options), "a.bin", SMALL)


async def test_a_chat_the_account_is_not_in_is_found_by_the_probe(opened: Open) -> None:
    with pytest.raises(StorageError, match="is not a member of the chat"):
        await opened("@channel").probe()


async def test_a_channel_where_the_account_may_only_read_is_found_by_the_probe(
    opened: Open, sandbox: Sandbox, inbox: Chat
) -> None:
    await opened().probe()
    inbox.broadcast = True
    inbox.admins = set()
    with pytest.raises(StorageError, match="may not post in the channel @inbox"):
        await opened().probe()


def test_a_channel_that_removed_the_account_is_reported() -> None:
    thrown_out = tl.ChannelForbidden(id=1, access_hash=1, title="x", broadcast=True)
    assert "is not a member of the chat" in missing_right(thrown_out)


async def test_without_an_account_the_storage_is_unavailable() -> None:
    storage = TelegramStorage(TelegramStorageOptions(name="tg", type="telegram", chat_id="me"))
    with pytest.raises(StorageUnavailable, match="needs a Telegram account"):
        await storage.probe()


@pytest.mark.parametrize(("account", "why"), [("nobody", "no Telegram account"), ("", "")])
async def test_a_storage_of_an_unknown_account_is_reported(opened: Open, account: str, why: str) -> None:
    storage = opened(account=account)
    if not why:
        await storage.reach()
        return
    with pytest.raises(StorageError, match=why):
        await storage.reach()
