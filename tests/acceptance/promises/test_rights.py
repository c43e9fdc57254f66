"""Which Telegram accounts read the links of a user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from tests.fixtures.stack import USER_ID, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE, OTHER = 7, 8
PUBLIC, PRIVATE = "https://t.me/channel/123", "https://t.me/c/1600000077/2"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("rights")
    users = [
        {"id": USER_ID, "accounts": ["bot"]},
        {"id": FREE},
        {"id": OTHER, "accounts": ["nobody"]},
    ]
    stack = Stack(folder, workers=1, tables={"users": users})
    world = stack.sandbox.world
    private = world.add_chat(Chat(id=1600000077, title="Private", members={samples.USER.id}))
    file = world.add_file(StoredFile(id=90_077, content=LiteralContent(b"secret"), name="private.bin"))
    assert world.send(private, StoredMessage(id=0, file=file)).id == 2
    async with stack:
        yield stack


async def ended(stack: Stack, link: str, user: int) -> tuple[str, str]:
    task = await stack.ended((await stack.add(link, user_id=user, dir_path=str(user)))["task_id"])
    return task["status"], task["error"]


async def test_a_restricted_user_reads_only_what_the_bot_sees(stack: Stack) -> None:
    assert await ended(stack, PRIVATE, FREE) == ("completed", "")
    status, error = await ended(stack, PRIVATE, USER_ID)
    assert status == "failed"
    assert "bot: " in error
    assert "user: " not in error, "the other account was not asked"
    assert await ended(stack, PUBLIC, USER_ID) == ("completed", "")


async def test_an_unknown_account_reads_nothing(stack: Stack) -> None:
    status, error = await ended(stack, PUBLIC, OTHER)
    assert status == "failed"
    assert "read only through these accounts: nobody" in error


async def test_a_message_is_read_again_only_by_permitted_accounts(stack: Stack) -> None:
    """Its file reference expires during the download: the message is read again, but only by a permitted
    account."""
    stack.sandbox.faults.add("error=400:FILE_REFERENCE_EXPIRED,method=upload.getFile,count=2")
    before = stack.sandbox.counters.requests(account=samples.USER.id)
    assert await ended(stack, PUBLIC, USER_ID) == ("completed", "")
    assert stack.sandbox.counters.requests(account=samples.USER.id) == before


async def test_a_message_is_read_repeatedly_only_by_permitted_accounts(stack: Stack) -> None:
    """The second time, its account can no longer read the message, and the other account is still not
    permitted."""
    faults = [
        stack.sandbox.faults.add(fault)
        for fault in (
            "error=400:FILE_REFERENCE_EXPIRED,method=upload.getFile,count=2",
            f"error=400:CHANNEL_PRIVATE,method=channels.getMessages,account={samples.BOT.id},every=3,count=1",
        )
    ]
    before = stack.sandbox.counters.requests(account=samples.USER.id)
    status, error = await ended(stack, PUBLIC, USER_ID)
    assert [fault.fired for fault in faults] == [2, 1]
    assert (status, "bot: the chat is private" in error) == ("failed", True)
    assert stack.sandbox.counters.requests(account=samples.USER.id) == before
