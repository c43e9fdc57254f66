"""Cards, tasks and unread messages survive a restart of all processes."""

from __future__ import annotations

from tests.acceptance.bot.conftest import BOT, contains, has_button, kill_bot
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named

DATA = b"all of it" * 1000


async def restart(stack: Stack) -> None:
    """Kill every process, including Redis, and start them again."""
    assert stack.api
    await kill_bot(stack)
    for process in (*stack.workers, stack.api):
        await stack.kill(process)
    stack.redis.stop()
    stack.redis.start()
    await stack.start_api()
    await stack.start_worker()
    await stack.start_bot()


async def test_a_button_works_after_a_restart(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local2"))
    await restart(stack)
    # Until the bot listens again nobody answers a press, as in Telegram.
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"), 60)
    await anna.press(card, "local2")
    await anna.receives(contains("Saved"), 60)
    assert (stack.folder / "more" / "notes.txt").read_bytes() == DATA


async def test_files_sent_while_the_bot_is_stopped_are_saved_once(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"))
    await kill_bot(stack)
    for n in range(5):
        await anna.send(BOT, named(b"%d" % n * 1000, f"{n}.txt"))
    await stack.start_bot()
    await kill_bot(stack)
    await stack.start_bot()
    await anna.receives(contains("5 of 5"), 60)
    assert [name for name in stack.files() if name.endswith(".txt")] == [f"{n}.txt" for n in range(5)]


async def test_a_second_bot_waits_for_the_end_of_the_first(stack: Stack, anna: Person) -> None:
    await stack.start_bot()
    await anna.send(BOT, "/start")
    await anna.receives(contains("/help"))
    assert len(anna.received) == 1
    await stack.terminate(stack.bots[0])
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"), 30)
    assert len(anna.received) == 2
