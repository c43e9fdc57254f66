"""Stories are saved by their links, and as part of the archive of a channel."""

from __future__ import annotations

import pytest

from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, USER_ID

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_link_to_a_story_saves_it(harness: ArchiveHarness) -> None:
    chat = harness.channel("Teller")
    file = harness.file(4000, "story.bin")
    harness.world.stories[chat.id, 5] = file
    link = f"https://t.me/{chat.username}/s/5"
    body = {"telegram_url": link, "storage_name": STORAGE, "user_id": USER_ID, "dir_path": "/story"}
    reply = await harness.stack.client.post("/api/v1/tasks", json=body)
    ended = await harness.stack.ended(reply.json()["task_id"])
    assert ended["status"] == "completed", ended
    assert harness.files("story") == ["story.bin"]
    body["telegram_url"] = f"https://t.me/{chat.username}/s/6"
    reply = await harness.stack.client.post("/api/v1/tasks", json=body)
    ended = await harness.stack.ended(reply.json()["task_id"])
    assert ended["status"] == "failed"
    assert "story" in ended["error"]


async def test_current_and_pinned_stories_are_part_of_an_archive(harness: ArchiveHarness) -> None:
    chat = harness.channel("Stories")
    for number in range(1, 8):
        harness.world.stories[chat.id, number] = harness.file(100 + number, f"story{number}.bin")
    harness.world.pinned.update((chat.id, number) for number in (2, 4))
    message = harness.post(chat, name="message.bin")
    archive = await harness.archive(chat, dir_path="stories", stories=True, on_duplicate="save")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["unaccounted"]) == (8, 0), found
    assert sorted(harness.files("stories")) == ["message.bin", *(f"story{n}.bin" for n in range(1, 8))]
    ids = [each["message"] for each in await harness.messages(archive)]
    assert ids == [*range(-7, 0), message]
    result = await harness.stack.saveany("archive", "verify", archive, "--telegram")
    assert "8 messages verified, 0 differ" in result.out, result
    (harness.stack.storage_dir / "stories/story3.bin").unlink()
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert "1 are saved again" in result.out
    await harness.reaches(archive)
    assert "story3.bin" in harness.files("stories")
