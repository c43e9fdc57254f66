"""An album sent to a chat stays one album with its captions, also when a worker dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from saveany.sandbox import samples
from saveany.sandbox.content import sha256
from saveany.sandbox.world import Chat, StoredMessage
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until

ALBUM = "https://t.me/channel/131"
INBOX = 1600000005
#: The four messages of the album.
CAPTIONS = ["Four views of the harbour", "", "The boats #harbour", ""]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    chat = {"name": "chat", "type": "telegram", "chat_id": "@inbox", "rate_limit": 0}
    local = {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")}
    stack = Stack(tmp_path, tables={"retry": 1, "storages": [local, chat]})
    world = stack.sandbox.world
    members = {samples.BOT.id, samples.USER.id}
    world.add_chat(Chat(id=INBOX, title="In", username="inbox", members=members))
    messages = world.chats[samples.CHANNEL].messages
    messages[133] = replace(messages[133], text=CAPTIONS[2])
    async with stack:
        yield stack


def sent(stack: Stack) -> list[StoredMessage]:
    return [each for each in reversed(stack.sandbox.world.chats[INBOX].newest_first()) if not each.service]


async def album_is_there(stack: Stack, task_id: str) -> None:
    """Whether the album was sent exactly once."""
    task = await stack.ended(task_id, 60)
    assert (task["status"], task["error"]) == ("completed", "")
    messages = sent(stack)
    assert [message.text for message in messages] == CAPTIONS
    assert len({message.album for message in messages}) == 1
    assert messages[0].album
    hashes = [sha256(message.file.content) for message in messages if message.file]
    assert hashes == [item["sha256"] for item in task["items"]]
    sample = next(each for each in stack.sandbox.samples if each.link == ALBUM)
    assert hashes == [file.sha256 for file in sample.files]


async def test_an_album_is_sent_as_an_album(stack: Stack) -> None:
    task_id = (await stack.add(ALBUM, storage_name="chat", dir_path="/in"))["task_id"]
    await album_is_there(stack, task_id)
    task = await stack.task(task_id)
    assert task["progress"]["done_files"] == 4
    links = [item["url"] for item in task["items"]]
    assert links == [f"https://t.me/inbox/{message.id}" for message in sent(stack)]
    back = await stack.ended((await stack.add(links[0], storage_name="local1"))["task_id"])
    assert [item["sha256"] for item in back["items"]] == [item["sha256"] for item in task["items"]]


async def held(stack: Stack) -> str:
    """A task that has uploaded all files but the last one, which does not arrive."""
    stack.sandbox.faults.add("rate=1000,file=1012")
    task_id: str = (await stack.add(ALBUM, storage_name="chat"))["task_id"]

    async def three() -> bool:
        return stack.sandbox.counters.bytes(file=1012) > 0 and len(stack.sandbox.world.uploads) == 3

    await until(three)
    assert sent(stack) == []
    return task_id


async def test_a_worker_killed_before_sending_the_album_sends_nothing_twice(stack: Stack) -> None:
    task_id = await held(stack)
    await stack.kill(stack.workers[0])
    stack.sandbox.faults.clear()
    await stack.start_worker()
    await album_is_there(stack, task_id)


async def test_a_worker_killed_after_sending_the_album_sends_nothing_twice(stack: Stack) -> None:
    stack.sandbox.faults.add("lose,method=messages.sendMultiMedia")
    task_id = (await stack.add(ALBUM, storage_name="chat"))["task_id"]

    async def there() -> bool:
        return len(sent(stack)) == 4

    await until(there)
    await stack.kill(stack.workers[0])
    stack.sandbox.faults.clear()
    await stack.start_worker()
    await album_is_there(stack, task_id)


async def test_a_cancel_before_the_album_is_sent_sends_nothing(stack: Stack) -> None:
    task_id = await held(stack)
    assert (await stack.client.delete(f"/api/v1/tasks/{task_id}")).is_success
    assert (await stack.ended(task_id))["status"] == "canceled"
    assert sent(stack) == []
    stack.sandbox.faults.clear()
    assert (await stack.client.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 202
    await album_is_there(stack, task_id)


async def test_an_album_is_sent_without_a_missing_file(stack: Stack) -> None:
    stack.sandbox.faults.add("error=400:LOCATION_INVALID,file=1010")
    task_id = (await stack.add(ALBUM, storage_name="chat"))["task_id"]
    task = await stack.ended(task_id)
    assert task["status"] == "failed"
    assert "1 of 4 files failed" in task["error"]
    assert [message.text for message in sent(stack)] == [CAPTIONS[0], *CAPTIONS[2:]]
    assert len({message.album for message in sent(stack)}) == 1
    stack.sandbox.faults.clear()
    assert (await stack.client.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 202
    assert (await stack.ended(task_id))["status"] == "completed"
    assert [message.text for message in sent(stack)] == [CAPTIONS[0], *CAPTIONS[2:], CAPTIONS[1]]


async def test_a_worker_killed_between_upload_and_sending_loses_and_repeats_nothing(stack: Stack) -> None:
    """A range of messages, of which four are an album, is sent in order."""
    fault = stack.sandbox.faults.add("silent,method=messages.sendMedia")
    task_id = (await stack.add("https://t.me/channel/130-143", storage_name="chat"))["task_id"]
    await until(lambda: fault.fired and len(stack.sandbox.world.uploads) >= 8)
    assert sent(stack) == []
    await stack.kill(stack.workers[0])
    stack.sandbox.faults.clear()
    await stack.start_worker()
    task = await stack.ended(task_id, 60)
    assert (task["status"], task["error"]) == ("completed", "")
    messages = sent(stack)
    hashes = [sha256(message.file.content) for message in messages if message.file]
    assert hashes == [item["sha256"] for item in task["items"]]
    assert len(set(hashes)) == len(messages) == 14
    assert [bool(message.album) for message in messages].count(True) == 4
