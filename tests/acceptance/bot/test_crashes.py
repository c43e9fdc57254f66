"""The bot or Redis stops at a bad moment, or Telegram demands a flood wait: nothing is lost or repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from telethon.errors import BotResponseTimeoutError

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from tests.acceptance.bot.conftest import BOT, contains, database, has_button, kill_bot, users_and_storages
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person, named

DATA = b"all of it" * 100
SENDING = f"method=messages.sendMessage,account={samples.BOT.id}"


def waiting(stack: Stack, least: int) -> Callable[[], Awaitable[bool]]:
    """Whether that many updates are waiting in the inbox."""

    async def look() -> bool:
        async with database(stack) as db:
            return int(await db.do("HLEN", "sa:bot:inbox")) >= least

    return look


def saved(stack: Stack) -> list[str]:
    return [name for name in stack.files() if not name.startswith(".")]


async def be_silent(anna: Person) -> None:
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"))
    anna.received.clear()


def post_small_files(stack: Stack, chat_id: int, count: int) -> str:
    """Post that many small files to a channel; returns its username."""
    name = f"files_{chat_id}"
    chat = Chat(id=chat_id, title=name, username=name, members={samples.PERSON.id})
    stack.sandbox.world.add_chat(chat)
    for n in range(count):
        file = StoredFile(id=chat_id * 100 + n, content=LiteralContent(b"number %d" % n), name=f"{n:02}.txt")
        stack.sandbox.world.add_file(file)
        stack.sandbox.world.post(chat, StoredMessage(id=n + 2, file=file))
    return name


def bot_texts(anna: Person) -> dict[int, str]:
    """The texts of the bot's current messages."""
    return {message.id: message.text for message in anna.received if message.is_private}


def all_reported(anna: Person, count: int) -> Callable[[Any], bool]:
    """Whether the messages report that many saved files."""

    def told(_: Any) -> bool:
        texts = bot_texts(anna).values()
        ended = [text.partition(" files saved")[0] for text in texts if " files saved" in text]
        single = sum("Saved" in text and "files saved" not in text for text in texts)
        return single + sum(int(text.split()[-1]) for text in ended) == count

    return told


async def test_updates_in_the_inbox_survive_a_crash(stack: Stack, anna: Person) -> None:
    await be_silent(anna)
    for n in range(3):
        await anna.send(BOT, named(DATA, f"{n}.txt"))
    await until(waiting(stack, 3))
    await kill_bot(stack)
    await stack.start_bot()
    await anna.receives(all_reported(anna, 3), 30)
    assert saved(stack) == ["0.txt", "1.txt", "2.txt"]


@pytest.mark.parametrize("fault", [f"flood_wait=60,{SENDING}", f"lose,{SENDING}"])
async def test_a_crash_between_a_task_and_its_message_loses_nothing(
    stack: Stack, anna: Person, history: Callable[[], Awaitable[list[Any]]], fault: str
) -> None:
    await be_silent(anna)
    happened = stack.sandbox.faults.add(fault)
    await anna.send(BOT, named(DATA, "notes.txt"))

    async def fired() -> bool:
        return happened.fired > 0

    await until(fired)
    await kill_bot(stack)
    stack.sandbox.faults.remove(happened)
    await stack.start_bot()
    await anna.receives(contains("Saved"), 30)
    assert saved(stack) == ["notes.txt"]
    assert len(await history()) == 1
    assert len(bot_texts(anna)) <= 2


async def test_a_crash_in_the_middle_of_fifty_files_loses_nothing(stack: Stack, anna: Person) -> None:
    await be_silent(anna)
    chat = post_small_files(stack, 1600000091, 50)
    for first in range(2, 52, 10):
        await anna.client.forward_messages(BOT, list(range(first, first + 10)), chat)
        if first == 22:
            await until(waiting(stack, 1))
            await kill_bot(stack)
    await stack.start_bot()
    await anna.receives(all_reported(anna, 50), 60)
    assert saved(stack) == [f"{n:02}.txt" for n in range(50)]
    assert len(bot_texts(anna)) <= 6


async def test_a_command_is_executed_once(stack: Stack, anna: Person) -> None:
    flood = stack.sandbox.faults.add(f"flood_wait=60,{SENDING}")
    await anna.send(BOT, "/silent")  # turns it on, or off again

    async def fired() -> bool:
        return flood.fired > 0

    await until(fired)
    await kill_bot(stack)
    stack.sandbox.faults.remove(flood)
    await stack.start_bot()
    await anna.receives(contains("Done."), 30)
    await anna.send(BOT, "/config")
    assert "Silent mode: on" in (await anna.receives(contains("Silent mode"))).text


async def test_redis_may_restart_between_a_card_and_its_button(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local2"))
    stack.redis.stop()
    await anna.press(card, "local2")
    await anna.receives(contains("Saved"), 30)
    assert (stack.folder / "more" / "notes.txt").read_bytes() == DATA


async def test_redis_may_restart_in_the_middle_of_fifty_files(stack: Stack, anna: Person) -> None:
    await be_silent(anna)
    chat = post_small_files(stack, 1600000092, 50)
    stack.sandbox.faults.add("delay=0.05,method=upload.getFile")
    await anna.client.forward_messages(BOT, list(range(2, 27)), chat)

    async def some() -> bool:
        return len(saved(stack)) > 5

    await until(some)
    stack.redis.stop()
    await anna.client.forward_messages(BOT, list(range(27, 52)), chat)
    await anna.receives(all_reported(anna, 50), 60)
    assert saved(stack) == [f"{n:02}.txt" for n in range(50)]


async def test_a_card_survives_a_changed_configuration(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    stack.write_config(storages=users_and_storages(stack.folder)["storages"][1:])
    try:
        await stack.terminate(stack.bots[0])
        await stack.start_bot()
        await anna.send(BOT, "/storage")
        await anna.receives(contains("Choose another storage"), 30)
        answer = await anna.press(card, "local1")
        assert answer.alert
        assert "no longer exists" in answer.message
        await anna.press(card, "local2")
        await anna.receives(contains("Saved"))
        assert (stack.folder / "more" / "notes.txt").read_bytes() == DATA
    finally:
        stack.write_config()
        await stack.terminate(stack.bots[0])
        await stack.start_bot()


async def test_a_reply_is_sent_after_a_flood_wait(stack: Stack, anna: Person) -> None:
    flood = stack.sandbox.faults.add(f"flood_wait=2,{SENDING},count=1")
    await anna.send(BOT, "/silent")
    await anna.receives(contains("Silent mode is on"))
    assert flood.fired == 1
    await anna.send(BOT, "/silent")
    await anna.receives(contains("Silent mode is off"))


async def test_a_cancel_does_not_wait_for_delayed_replies(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "https://t.me/channel/128")  # slow
    card = await anna.receives(has_button("local1"))
    await anna.press(card, "local1")
    running = await anna.receives(has_button("Cancel"))
    flood = stack.sandbox.faults.add(f"flood_wait=60,{SENDING}")
    await anna.send(BOT, "hello")

    async def fired() -> bool:
        return flood.fired > 0

    await until(fired)
    await anna.press(running, "Cancel")
    await anna.receives(contains("Canceled"))
    await kill_bot(stack)  # it would wait a minute to answer
    await stack.start_bot()


async def test_a_pressed_button_acts_although_its_reply_is_delayed(stack: Stack, anna: Person) -> None:
    stack.sandbox.world.callback_timeout = 1
    stack.sandbox.faults.add("flood_wait=2,method=messages.setBotCallbackAnswer,count=1")
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    with pytest.raises(BotResponseTimeoutError):
        await anna.press(card, "local1")
    await anna.receives(contains("Saved"))
    stack.sandbox.world.callback_timeout = 10
    assert saved(stack) == ["notes.txt"]
