"""Tasks started by the bot are shown while they run, canceled, retried and listed."""

from __future__ import annotations

from typing import Any

import pytest

from saveany.sandbox import samples
from tests.acceptance.bot.conftest import BOT, OTHER, contains, has_button
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person, person

SLOW = "https://t.me/channel/128"  # 64 MiB at 1 MB/s


def percent(message: Any) -> float:
    """The percentage shown by the bar of a message."""
    found = [word for word in (message.text or "").replace(" %", "%").split() if word.endswith("%")]
    return float(found[0].rstrip("%")) if found else 0.0


async def test_a_running_task_is_canceled(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, SLOW)
    card = await anna.receives(has_button("local1"))
    await anna.press(card, "local1")
    running = await anna.receives(lambda message: 10 <= percent(message) < 100, 30)
    assert running.id == card.id
    await anna.press(running, "Cancel")
    ended = await anna.receives(contains("Canceled"))
    assert ended.id == card.id
    assert [name for name in stack.files() if not name.startswith(".saveany")] == []


@pytest.mark.parametrize("by_button", [True, False])
async def test_a_running_task_is_stopped_with_what_is_saved(
    stack: Stack, anna: Person, by_button: bool
) -> None:
    await anna.send(BOT, f"https://t.me/channel/123 {SLOW}")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    running = await anna.receives(has_button("Stop and keep"), 30)
    if by_button:
        await anna.press(running, "Stop and keep")
    else:
        await anna.send(BOT, "/task")
        await anna.receives(has_button("✖ 1"))
        await anna.send(BOT, "/stop 1")
        await anna.receives(contains("Stopped."))
    ended = await anna.receives(contains("1 of 2 files saved"))
    assert ended.id == running.id
    assert has_button("Link")(ended)
    assert "file.pdf" in stack.files()
    assert [name for name in stack.files() if "slow" in name] == []


async def test_a_failed_task_is_retried(stack: Stack, anna: Person) -> None:
    files = stack.sandbox.world.files
    channel = next(each for each in stack.sandbox.world.chats.values() if each.username == "channel")
    kept = channel.messages[124]
    stack.sandbox.faults.add("error=400:FILE_ID_INVALID,file=1002")
    await anna.send(BOT, "https://t.me/channel/123 https://t.me/channel/124")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    failed = await anna.receives(has_button("Retry"))
    assert "1 of 2" in failed.text
    assert kept.file is files[1002]
    stack.sandbox.faults.clear()
    await anna.press(failed, "Retry")
    assert "2 of 2" in (await anna.receives(contains("Saved"))).text
    assert {"file.pdf", "one-byte.bin"} <= set(stack.files())


async def test_tasks_are_listed_and_canceled_by_id(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/task")
    await anna.receives(contains("No tasks are running"))
    await anna.send(BOT, SLOW)
    await anna.press(await anna.receives(has_button("local1")), "local1")
    await anna.receives(lambda message: percent(message) > 0, 20)
    await anna.send(BOT, "/task")
    listed = await anna.receives(has_button("✖ 1"))
    assert "slow" in listed.text or "128" in listed.text
    await anna.press(listed, "✖ 1")
    await anna.receives(contains("Canceled"))
    await anna.send(BOT, "/history canceled")
    await anna.receives(contains("🚫"))
    await anna.send(BOT, "/stats")
    await anna.receives(contains("1 worker"))
    await anna.send(BOT, "/usage")
    await anna.receives(contains("free"))


async def test_tasks_are_named_by_their_number_in_the_list(stack: Stack, anna: Person) -> None:
    stack.sandbox.faults.add("rate=1000,method=upload.getFile")
    anna_id = samples.PERSON.id
    tasks = [(await stack.add(SLOW, user_id=anna_id))["task_id"] for _ in range(2)]
    await anna.send(BOT, "/task")
    await anna.receives(has_button("✖ 2"))
    await anna.send(BOT, "/cancel 1")
    assert (await stack.ended(tasks[0]))["status"] == "canceled"
    await anna.send(BOT, "/cancel 2")  # of the list as it was shown, though only one task is left
    assert (await stack.ended(tasks[1]))["status"] == "canceled"
    await anna.send(BOT, "/cancel 3")
    await anna.receives(contains("has no number 3"))
    stack.sandbox.faults.clear()
    await anna.send(BOT, "/retry 2")

    async def is_saved() -> bool:
        return bool((await stack.task(tasks[1]))["status"] == "completed")

    await until(is_saved)


async def test_a_task_of_another_user_is_not_found(stack: Stack) -> None:
    task_id = (await stack.add(SLOW, user_id=samples.PERSON.id))["task_id"]
    async with person(stack.sandbox, OTHER) as bert:
        await bert.send(BOT, f"/cancel {task_id}")
        await bert.receives(contains("no task"))
    assert (await stack.task(task_id))["status"] in ("queued", "running")
