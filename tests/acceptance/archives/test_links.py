"""Links to whole chats are archived: public ones, invites, and topics."""

from __future__ import annotations

import asyncio

import pytest

from saveany.sandbox import samples
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, USER_ID

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_resolve_shows_what_a_whole_chat_contains(harness: ArchiveHarness) -> None:
    chat = harness.channel("Resolved")
    for _ in range(4):
        harness.post(chat, size=1000)
    link = f"https://t.me/{chat.username}"
    reply = await harness.stack.client.post("/api/v1/resolve", json={"url": link, "user_id": USER_ID})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["type"], found["files"], found["total_files"], found["storage"]) == (
        "archive",
        [],
        4,
        STORAGE,
    )
    assert (found["archive"]["messages"], found["archive"]["bytes"]) == (5, 4000)
    shown = await harness.stack.saveany("resolve", link)
    assert "a chat: Resolved" in shown.out
    assert "4 document, about 4k" in shown.err


async def test_add_archives_a_chat(harness: ArchiveHarness) -> None:
    chat = harness.channel("Added")
    harness.post(chat)
    result = await harness.stack.saveany("add", f"https://t.me/{chat.username}", "--dir", "added")
    assert result.code == 0, result
    assert "2 messages: 1 document" in result.err
    word, archive = result.out.split()
    assert word == "archive"
    assert (await harness.reaches(archive))["counts"]["saved"] == 1
    assert len(harness.files("added")) == 1


async def test_the_same_archive_that_is_asked_for_twice_at_a_time_is_made_once(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Twice")
    body = {"chat": f"@{chat.username}", "user_id": USER_ID, "dir_path": "twice", "paused": True}
    asked = (harness.stack.client.post("/api/v1/archives", json=body) for _ in range(5))
    replies = await asyncio.gather(*asked)
    assert sorted(each.status_code for each in replies) == [201, 409, 409, 409, 409]
    found = (await harness.stack.client.get("/api/v1/archives")).json()["archives"]
    assert len([each for each in found if each["dir_path"] == "twice"]) == 1


async def test_a_date_that_is_none_is_refused(harness: ArchiveHarness) -> None:
    chat = harness.channel("Dated")
    harness.post(chat)
    for number, (date, status) in enumerate(
        [
            ("yesterday", 400),
            ("2024-02-31", 400),
            ("0001-01-01T00:00:00+14:00", 201),
            ("9999-12-31T23:59:59-14:00", 201),
        ]
    ):
        for field in ("start", "until"):
            body = {"chat": f"@{chat.username}", "user_id": USER_ID, "dir_path": f"{field}{number}"}
            reply = await harness.stack.client.post("/api/v1/archives", json={**body, field: date})
            assert reply.status_code == status, reply.text
            if status == 400:
                assert reply.json()["details"][0]["field"] == field
            else:
                is_empty = date.startswith("0001") == (field == "until")
                found = await harness.reaches(reply.json()["id"])
                assert found["counts"]["saved"] + found["counts"]["duplicate"] == (0 if is_empty else 1)


async def test_an_invite_is_archived_if_the_account_is_in_the_chat(harness: ArchiveHarness) -> None:
    inside = harness.channel("Invited", username="", invite="https://t.me/+AbCdEf_123456")
    harness.post(inside)
    archive = await harness.archive("https://t.me/joinchat/AbCdEf_123456", dir_path="invited")
    assert (await harness.reaches(archive))["counts"]["saved"] == 1
    harness.channel("Closed", username="", invite="https://t.me/+ZyXwVu_123456", members={samples.PERSON.id})
    for code, reason in (("ZyXwVu_123456", "join it in Telegram first"), ("Gone_00000000", "not valid")):
        body = {"chat": f"https://t.me/+{code}", "user_id": USER_ID}
        reply = await harness.stack.client.post("/api/v1/archives", json=body)
        assert reply.status_code == 404, reply.text
        assert reason in reply.json()["message"]


async def test_a_link_to_a_topic_archives_the_topic_alone(harness: ArchiveHarness) -> None:
    chat = harness.channel("Forum", broadcast=False, forum=True)
    first = harness.say(chat, service=True, opens_topic="One")
    second = harness.say(chat, service=True, opens_topic="Two")
    for number in range(30):
        harness.post(chat, thread=(first, second)[number % 2], topic=True)
    archive = await harness.archive(f"https://t.me/{chat.username}/{second}", dir_path="topic")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["unaccounted"]) == (15, 0)
    assert {each.partition("/")[0] for each in harness.files("topic")} == {"Two"}
    # A link to a message of a forum that opens no topic leads to the whole chat.
    archive = await harness.archive(f"https://t.me/{chat.username}/{second + 1}", dir_path="whole")
    assert (await harness.reaches(archive))["counts"]["duplicate"] == 15
