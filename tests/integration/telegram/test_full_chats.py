"""Several chats in one storage: the next one is used before Telegram stops showing the first files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from saveany.errors import NoSpace, StorageError
from saveany.models import Status
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, StoredMessage
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from storages.telegram.options import TelegramStorageOptions
from tests.integration.telegram.chat_harness import ChatHarness
from tests.integration.telegram.conftest import fetch
from tests.integration.telegram.uploads import SMALL, Open, content, key, save, sent
from tests.integration.worker.conftest import FilesSource

FIRST, SECOND = -1001600000005, -1001600000006


@pytest.fixture
def second(sandbox: Sandbox, inbox: Chat) -> Chat:
    members = {samples.BOT.id, samples.USER.id}
    return sandbox.world.add_chat(Chat(id=1600000006, title="Second", members=members))


@pytest.mark.parametrize("account", ["", "me"])
async def test_the_next_chat_is_used_before_one_is_full(
    opened: Open, inbox: Chat, second: Chat, accounts: Accounts, account: str
) -> None:
    """Each chat has a message about its creation. A restart changes nothing, and all files can be read."""
    chats: dict[str, Any] = {"chat_ids": [FIRST, SECOND], "max_messages": 4, "account": account}
    storage = opened("@inbox", **chats)
    receipts = []
    for item in range(5):
        if item in (1, 4):
            storage = opened("@inbox", **chats)
        receipts.append(await save(storage, f"{item}.bin", b"%d" % item, key(item=item)))
    assert [content(message) for message in sent(inbox)] == [b"0", b"1", b"2"]
    assert [content(message) for message in sent(second)] == [b"3", b"4"]
    for item, receipt in enumerate(receipts):
        chat = inbox if item < 3 else second
        number = sent(chat)[item % 3].id
        assert receipt.page == (
            f"https://t.me/inbox/{number}" if item < 3 else f"https://t.me/c/{second.id}/{number}"
        )
        assert receipt.reference["files"][0]["chat"] == (FIRST if item < 3 else SECOND)
        media = await accounts.find(receipt.reference["files"][0])
        assert bytes((await fetch(accounts, media)).data) == b"%d" % item
    await storage.remove(receipts[0])
    assert len(sent(inbox)) == 2
    await save(storage, "5.bin", SMALL, key(item=5))
    for _attempt in range(2):
        with pytest.raises(NoSpace, match=f"{SECOND} is full.*chat_ids") as error:
            await save(storage, "6.bin", SMALL, key(item=6))
        with pytest.raises(NoSpace):
            await opened("@inbox", **chats).probe()
    assert (len(sent(inbox)), len(sent(second))) == (2, 3)
    assert "4 messages" in str(error.value)


async def test_files_sent_at_the_same_time_do_not_exceed_the_limit(
    opened: Open, inbox: Chat, second: Chat
) -> None:
    storage = opened(FIRST, chat_ids=[SECOND], max_messages=8)
    saving = (save(storage, f"{item}.bin", b"%d" % item, key(item=item)) for item in range(10))
    await asyncio.gather(*saving)
    counts = len(sent(inbox)), len(sent(second))
    assert sum(counts) == 10
    assert max(counts) <= 7


async def test_an_album_is_not_divided_between_chats(opened: Open, inbox: Chat, second: Chat) -> None:
    storage = opened(FIRST, chat_ids=[SECOND], max_messages=5, split_size_mb=1)
    await save(storage, "b.bin", b"b", key(item=1))
    data = bytes(range(256)) * 4096 * 4
    receipt = await save(storage, "a.bin", data)
    assert (len(sent(inbox)), b"".join(map(content, sent(second)))) == (1, data)
    assert {each["chat"] for each in receipt.reference["files"]} == {SECOND}


async def test_messages_of_others_and_edits_count_for_what_they_are(
    opened: Open, inbox: Chat, second: Chat, sandbox: Sandbox
) -> None:
    """An edit is an event, but no message."""
    await save(opened(FIRST), "a.bin", SMALL)
    for text in "abcdefgh":
        sandbox.world.edit(inbox, sent(inbox)[0].id, text=text)
    storage = opened(FIRST, chat_ids=[SECOND], max_messages=4)
    for item in range(1, 4):
        await save(storage, "b.bin", SMALL, key(item=item))
    assert (len(sent(inbox)), len(sent(second))) == (3, 1)


async def test_a_storage_without_limit_asks_nothing(opened: Open, inbox: Chat, sandbox: Sandbox) -> None:
    storage = opened(FIRST, max_messages=0)
    await storage.probe()
    await save(storage, "a.bin", SMALL)
    assert sandbox.counters.requests(method="channels.getFullChannel") == 0
    await save(opened("me"), "b.bin", SMALL, key(item=1))  # it has no limit
    assert sandbox.counters.requests(method="channels.getFullChannel") == 0


async def test_tasks_wait_until_there_is_another_chat(
    store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat, second: Chat, sandbox: Sandbox
) -> None:
    harness = ChatHarness(store, tmp_path / "files", accounts, inbox, FilesSource({"a.bin": SMALL}))
    sandbox.world.post(inbox, StoredMessage(id=900_000, text="the last one"))
    inbox.box.pts += 900_000
    await harness.worker(chat_id=FIRST)
    assert "is full" in str(harness.others["chat"].problem)
    await harness.worker(chat_id=FIRST, chat_ids=[SECOND])
    assert harness.others["chat"].problem is None
    task_id = await harness.post()
    await harness.run()
    assert (await harness.task(task_id)).status is Status.COMPLETED
    [item] = await store.tasks.all_items(task_id)
    assert item.url == f"https://t.me/c/{second.id}/2"
    [media] = await accounts.resolve(parse(item.url))
    assert bytes((await fetch(accounts, media)).data) == SMALL


async def test_the_probe_names_the_chat_that_cannot_be_written_to(
    opened: Open, inbox: Chat, second: Chat
) -> None:
    second.broadcast, second.admins = True, set()
    with pytest.raises(StorageError, match=f"may not post in the channel {SECOND}"):
        await opened(FIRST, chat_ids=[SECOND]).probe()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "set chat_id or chat_ids"),
        ({"chat_ids": ["me"]}, "chat_ids must be"),
        ({"chat_ids": ["https://t.me/x"]}, "chat_ids must be"),
        ({"chat_id": "me", "chat_ids": [FIRST]}, "with several chats"),
        ({"chat_id": "*", "chat_ids": [FIRST]}, "with several chats"),
        ({"chat_id": FIRST, "max_messages": -1}, "greater than or equal to 0"),
    ],
)
def test_invalid_chats_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TelegramStorageOptions.model_validate({"name": "tg", "type": "telegram", **options})


def test_one_chat_in_a_list_may_have_a_topic() -> None:
    fields = {"name": "tg", "type": "telegram", "chat_ids": [FIRST, FIRST], "topic": 5}
    assert TelegramStorageOptions.model_validate(fields).chats == [str(FIRST)]
