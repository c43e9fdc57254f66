"""Case 23: archives in takeouts: refused, delayed, invalidated, left open by a crash, and always finished."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from saveany.sandbox import samples
from saveany.sandbox.world import World
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = samples.USER.id


@pytest.fixture
def world(harness: ArchiveHarness) -> Iterator[World]:
    harness.world.in_takeouts.clear()
    yield harness.world
    harness.world.takeout_delay = 0


async def _ended(world: World) -> None:
    await until(lambda: USER not in world.takeouts, within=60, what="the end of the takeout")


async def test_case_23_a_takeout_has_all_requests_and_is_finished(
    harness: ArchiveHarness, world: World
) -> None:
    # A chat that the bot cannot read.
    chat = harness.channel("Export", username="", invite="https://t.me/+Export000001")
    harness.say(chat, 250)
    for _ in range(3):
        harness.post(chat)
    before = harness.requests("messages.getHistory"), harness.requests("upload.getFile")
    archive = await harness.archive("https://t.me/+Export000001", dir_path="export-in", takeout=True)
    assert (await harness.reaches(archive))["counts"]["saved"] == 3
    await _ended(world)
    pages = harness.requests("messages.getHistory") - before[0] - 1  # one finds the chat
    files = harness.requests("upload.getFile") - before[1]
    assert (world.in_takeouts["GetHistoryRequest"], world.in_takeouts["GetFileRequest"]) == (pages, files)
    assert pages >= 3
    assert world.in_takeouts["FinishTakeoutSessionRequest"] == 1


async def test_case_23_a_delayed_takeout_says_what_to_do_and_the_archive_goes_on_without(
    harness: ArchiveHarness, world: World
) -> None:
    world.takeout_delay = 86_400
    chat = harness.channel("Delayed")
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="delayed", takeout=True)
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == 1
    assert "allow it in the message from Telegram, or wait for 24 hours" in found["notice"]
    assert not world.in_takeouts


async def test_case_23_a_refused_takeout_is_noted(harness: ArchiveHarness, world: World) -> None:
    fault = harness.faults.add("error=400:INPUT_REQUEST_INVALID,method=account.initTakeoutSession")
    chat = harness.channel("Refused")
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="refused", takeout=True)
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == 1
    assert "does not permit an export" in found["notice"]
    harness.faults.remove(fault)


async def test_case_23_an_export_that_another_program_begins_ends_the_takeout(
    harness: ArchiveHarness, world: World
) -> None:
    chat = harness.channel("Ended")
    harness.say(chat, 1500)
    harness.post(chat)
    slow = harness.faults.add("delay=0.3,method=messages.getHistory")
    archive = await harness.archive(chat, dir_path="ended", takeout=True)
    await until(lambda: bool(world.in_takeouts["GetHistoryRequest"]), within=60)
    world.takeouts[USER] = world.new_id()
    harness.faults.remove(slow)
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == 1
    assert "Another export" in found["notice"]
    del world.takeouts[USER]


async def test_case_23_a_takeout_that_a_crash_has_left_open_is_used_and_finished(
    harness: ArchiveHarness, world: World
) -> None:
    chat = harness.channel("Crash")
    harness.say(chat, 1500)
    harness.post(chat)
    slow = harness.faults.add("delay=0.3,method=messages.getHistory")
    archive = await harness.archive(chat, dir_path="crash", takeout=True)
    await until(lambda: bool(world.in_takeouts["GetHistoryRequest"]), within=60)
    open_ = world.takeouts[USER]
    assert harness.stack.api is not None
    await harness.stack.kill(harness.stack.api)
    harness.faults.remove(slow)
    assert world.takeouts[USER] == open_
    await harness.stack.start_api()
    await harness.stack.ready()
    assert (await harness.reaches(archive))["counts"]["saved"] == 1
    await _ended(world)


@pytest.mark.parametrize("action", ["pause", "remove"])
async def test_case_23_a_takeout_ends_when_the_archive_is_paused_or_removed(
    harness: ArchiveHarness, world: World, action: str
) -> None:
    chat = harness.channel("Stopped")
    harness.say(chat, 1500)
    slow = harness.faults.add("delay=0.3,method=messages.getHistory")
    archive = await harness.archive(chat, dir_path=f"stopped-{action}", takeout=True)
    await until(lambda: USER in world.takeouts, within=60)
    await until(lambda: bool(world.in_takeouts["GetHistoryRequest"]), within=60)
    result = await harness.stack.saveany("archive", action, archive)
    assert result.code == 0, result
    await _ended(world)
    harness.faults.remove(slow)
    if action == "pause":
        await harness.act(archive, "resume")
        await harness.reaches(archive)
        await _ended(world)
