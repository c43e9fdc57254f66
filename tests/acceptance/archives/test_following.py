"""Archives that follow their chat: new posts become tasks at once, and polling finds what was not pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_new_posts_are_read_when_telegram_pushes_them(harness: ArchiveHarness) -> None:
    """Well before the next poll, of which there is one every ten seconds."""
    chat = harness.channel("Pushed")
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="pushed", follow=True)
    await harness.reaches(archive, "following")
    polls = harness.requests("messages.getPeerDialogs")
    for number in range(2, 12):
        harness.post(chat)

        async def is_saved(number: int = number) -> bool:
            return (await harness.counts(archive)).get("saved") == number

        await until(is_saved)
    for _ in range(3):
        harness.post(chat, album=5)
    await until(lambda: len(harness.files("pushed")) == 14)
    assert harness.requests("messages.getPeerDialogs") - polls <= 5  # it would be 11 without pushes


async def test_posts_that_were_not_pushed_are_found_by_polling(harness: ArchiveHarness) -> None:
    """Pushes are lost, and of chats that an account has not joined there are none."""
    chats = {"lost": harness.channel("Lost"), "open": harness.channel("Open", members=set())}
    for folder, chat in chats.items():
        archive = await harness.archive(chat, dir_path=folder, follow=True)
        await harness.reaches(archive, "following")
    harness.faults.add("lose,method=updates")
    for chat in chats.values():
        harness.post(chat)
    await until(lambda: all(len(harness.files(folder)) == 1 for folder in chats))


async def test_posts_are_pushed_again_after_the_connection_was_lost(harness: ArchiveHarness) -> None:
    chat = harness.channel("Dropped")
    archive = await harness.archive(chat, dir_path="dropped", follow=True)
    await harness.reaches(archive, "following")
    harness.faults.add("drop,method=messages.getPeerDialogs,count=1")
    await harness.act(archive, "resume")  # polls now
    harness.post(chat)
    await until(lambda: len(harness.files("dropped")) == 1)
    polls = harness.requests("messages.getPeerDialogs")
    harness.post(chat)
    await until(lambda: len(harness.files("dropped")) == 2)
    assert harness.requests("messages.getPeerDialogs") <= polls + 1


async def test_posts_during_a_restart_are_saved_once(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        harness = ArchiveHarness(stack)
        chat = harness.channel("Restarted")
        archive = await harness.archive(chat, dir_path="restarted", follow=True)
        await harness.reaches(archive, "following")
        assert stack.api is not None
        await stack.terminate(stack.api)
        for _ in range(3):
            harness.post(chat)
        await stack.start_api()
        harness.post(chat)
        await stack.ready()

        async def are_saved() -> bool:
            return (await harness.counts(archive)).get("saved") == 4

        await until(are_saved, within=60)
        assert len(harness.files("restarted")) == 4
