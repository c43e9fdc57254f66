"""Archives into a chat of Telegram are copied without moving bytes, in order, and without doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.world import Chat, StoredMessage
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_TARGETS = range(1_700_000_001, 1_700_000_006)
#: Posts of the long copy, and the number of kills of the worker. The case has 1,000 posts, which takes
#: too long for CI: the benchmark `copy_by_reference_bytes` copies as many, without kills.
_POSTS, _KILLS = 300, 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    chats = [
        {"name": f"chat{n}", "type": "telegram", "account": "user", "chat_id": f"-100{id_}", "rate_limit": 0}
        for n, id_ in enumerate(_TARGETS)
    ]
    local = {"name": STORAGE, "type": "local", "base_path": str(folder / "files")}
    stack = Stack(folder, tables={"storages": [local, *chats]})
    for id_ in _TARGETS:
        stack.sandbox.world.add_chat(
            Chat(
                id=id_,
                title="Copy",
                username=f"copy_{id_}",
                members={samples.USER.id},
                admins={samples.USER.id},
            )
        )
    async with stack:
        yield stack


def _copies(harness: ArchiveHarness, number: int) -> list[StoredMessage]:
    """The messages with files of a target, oldest first."""
    chat = harness.world.chats[_TARGETS[number]]
    return [chat.messages[id_] for id_ in sorted(chat.messages) if chat.messages[id_].files]


async def test_case_25_a_copy_that_is_killed_is_complete_in_order_and_moves_no_bytes(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Original")
    for number in range(_POSTS):
        album = 5000 + number // 10 if number % 100 < 30 else None
        harness.post(chat, text=f"text {number}", album=album)
    originals = [message for _, message in sorted(chat.messages.items()) if message.file]
    before = harness.counters.bytes(), harness.requests("upload.saveFilePart")
    archive = await harness.archive(chat, storage="chat0", copy="reference")
    for kill in range(_KILLS):
        wanted = (kill + 1) * _POSTS // (_KILLS + 1)
        await until(lambda wanted=wanted: len(_copies(harness, 0)) >= wanted, within=120)  # type: ignore[misc]
        await harness.stack.kill(harness.stack.workers[0])
        await harness.stack.start_worker()
    found = await harness.reaches(archive, within=180)
    assert (found["counts"]["saved"], found["unaccounted"]) == (_POSTS, 0)
    copies = _copies(harness, 0)
    assert [each.file for each in copies] == [each.file for each in originals]
    assert [each.text for each in copies] == [each.text for each in originals]
    assert _albums(copies) == _albums(originals)
    assert (harness.counters.bytes(), harness.requests("upload.saveFilePart")) == before


def _albums(messages: list[StoredMessage]) -> list[list[int]]:
    """The positions of the messages of each album."""
    albums: dict[int, list[int]] = {}
    for position, message in enumerate(messages):
        if message.album:
            albums.setdefault(message.album, []).append(position)
    return list(albums.values())


async def test_case_18_a_protected_chat_is_counted_and_nothing_is_uploaded(harness: ArchiveHarness) -> None:
    chat = harness.channel("Protected", protected=True)
    for _ in range(3):
        harness.post(chat)
    before = harness.counters.bytes()
    archive = await harness.archive(chat, storage="chat1", copy="reference")
    found = await harness.reaches(archive)
    assert (found["counts"]["protected"], found["counts"]["saved"], found["unaccounted"]) == (3, 0, 0)
    assert "may not be copied" in found["notice"]
    assert _copies(harness, 1) == []
    assert harness.counters.bytes() == before
    # Downloading is possible.
    archive = await harness.archive(chat, dir_path="protected")
    assert (await harness.reaches(archive))["counts"]["saved"] == 3


async def test_case_18_a_protected_chat_is_downloaded_and_uploaded_if_that_is_wanted(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Protected too", protected=True)
    ids = [harness.post(chat) for _ in range(3)]
    archive = await harness.archive(chat, storage="chat2")
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == 3
    assert "downloaded, and uploaded again" in found["notice"]
    copies = [each.file for each in _copies(harness, 2)]
    originals = [chat.messages[each].file for each in ids]
    assert [_content(each) for each in copies] == [_content(each) for each in originals]
    assert not set(copies) & set(originals)


def _content(file: object) -> bytes:
    content = file.content  # type: ignore[attr-defined]
    return bytes(content.read(0, content.size))


async def test_single_protected_messages_of_an_open_chat_are_uploaded(harness: ArchiveHarness) -> None:
    chat = harness.channel("Mixed")
    harness.post(chat)
    protected = harness.post(chat, protected=True)
    harness.post(chat)
    archive = await harness.archive(chat, storage="chat3")
    assert (await harness.reaches(archive))["counts"]["saved"] == 3
    copies = [each.file for each in _copies(harness, 3)]
    originals = [message.file for _, message in sorted(chat.messages.items()) if message.file]
    same = [copy is original for copy, original in zip(copies, originals, strict=True)]
    assert same == [True, False, True]
    assert chat.messages[protected].file is originals[1]


async def test_an_ordinary_task_copies_by_reference_if_asked(harness: ArchiveHarness) -> None:
    chat = harness.channel("Single")
    link = f"https://t.me/{chat.username}/{harness.post(chat)}"
    before = harness.counters.bytes()
    body = {
        "type": "tgfiles",
        "storage": "chat4",
        "params": {"message_links": [link], "copy": "reference"},
    }
    reply = await harness.stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    ended = await harness.stack.ended(reply.json()["task_id"])
    assert ended["status"] == "completed", ended
    assert [each.file for each in _copies(harness, 4)] == [chat.messages[max(chat.messages)].file]
    assert harness.counters.bytes() == before
