"""The bot receives every message exactly once and in order, whatever happens to connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from telethon.tl import types as tl

from saveany.errors import NeedsLogin
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, Group, SandboxAccount, StoredMessage
from saveany.telegram import client, updates
from saveany.telegram.bot_client import BotClient, Position
from saveany.telegram.update_types import Button, CallbackQuery
from saveany.telegram.update_types import ChatMessage as Letter
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import store_of, table
from tests.integration.telegram.update_collector import UpdateCollector
from tests.sandbox.clients import Person

BOT, ANNA, ME = "sandbox_bot", samples.PERSON.id, samples.BOT.id
GROUP, FEW = 1600000010, 4001


@pytest.fixture
def config(sandbox: Sandbox) -> Any:
    return table(sandbox, bot=True)


@pytest.fixture
def group(sandbox: Sandbox) -> Chat:
    members = {ME, samples.USER.id, ANNA}
    chat = Chat(id=GROUP, title="Group", username="thegroup", broadcast=False, members=members)
    return sandbox.world.add_chat(chat)


def account(sandbox: Sandbox, id_: int) -> SandboxAccount:
    return sandbox.world.accounts[id_]


def send_private(sandbox: Sandbox, *texts: str) -> None:
    """Send a private message of Anna to the bot."""
    side = sandbox.world.private_chats.side(account(sandbox, ANNA), account(sandbox, ME))
    for text in texts:
        sandbox.world.send(side, StoredMessage(id=0, text=text, sender=ANNA))


def send_to_group(sandbox: Sandbox, chat: Chat, *texts: str, sender: int = ANNA, hours_ago: int = 0) -> None:
    """Send a message of Anna to the bot in a group."""
    for text in texts:
        said = f"@{BOT} {text}"
        mention = tl.MessageEntityMention(0, len(BOT) + 1)
        date = datetime.now(UTC) - timedelta(hours=hours_ago)
        sandbox.world.send(
            chat, StoredMessage(id=0, text=said, entities=(mention,), sender=sender, date=date)
        )


def numbers(last: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, last)]


def addressed_to_bot(texts: list[str]) -> list[str]:
    return [f"@{BOT} {text}" for text in texts]


async def test_messages_sent_while_offline_are_received_later(
    sandbox: Sandbox, config: Any, tmp_path: Path, redis: Redis
) -> None:
    first, second = BotClient(config, tmp_path, store_of(redis)), BotClient(config, tmp_path, store_of(redis))
    await first.open()
    async with UpdateCollector(first) as collector:
        send_private(sandbox, "before")
        await collector.receives("before")
    await first.close()
    send_private(sandbox, *numbers(150))
    await second.open()
    async with UpdateCollector(second, collector.position) as collector:
        await collector.receives(*numbers(150))
        send_private(sandbox, "live")
        await collector.receives("live")
    await second.close()


async def test_receiving_can_continue_from_every_position(
    sandbox: Sandbox, bot_client: BotClient, group: Chat
) -> None:
    """A client killed after any batch receives the rest, and nothing twice."""
    position, heard, batches = await _start(bot_client), list[str](), 0
    account(sandbox, ME).reads_groups = True
    for first in (0, 120, 240):
        send_private(sandbox, *numbers(first + 120, first))
        send_to_group(sandbox, group, *numbers(first + 120, first))
    while len(heard) < 720:
        async with asyncio.timeout(20):
            letters, position = await anext(bot_client.updates(position))
        heard += [letter.text for letter in letters if isinstance(letter, Letter)]
        batches += 1
    assert batches >= 8
    assert [each for each in heard if each.isdigit()] == numbers(360)
    assert [each for each in heard if not each.isdigit()] == addressed_to_bot(numbers(360))


async def _start(bot_client: BotClient) -> Position:
    _, position = await anext(bot_client.updates(None))
    return position


async def test_a_dropped_connection_loses_nothing(sandbox: Sandbox, bot_client: BotClient) -> None:
    async with UpdateCollector(bot_client) as collector:
        send_private(sandbox, "0")
        await collector.receives("0")
        sandbox.faults.add(f"drop,method=updates,account={ME},every=7")
        sandbox.faults.add(f"drop,method=updates.getDifference,account={ME},every=3")
        for number in numbers(60, 1):
            send_private(sandbox, number)
            await asyncio.sleep(0)
        await collector.receives(*numbers(60, 1))


async def test_lost_pushes_are_fetched_with_the_next(sandbox: Sandbox, bot_client: BotClient) -> None:
    async with UpdateCollector(bot_client) as collector:
        sandbox.faults.add(f"lose,method=updates,account={ME},count=2")
        send_private(sandbox, "one", "two", "three")
        await collector.receives("one", "two", "three")


async def test_without_pushes_the_client_polls(
    sandbox: Sandbox, bot_client: BotClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_POLL_SECONDS", 0.2)
    sandbox.faults.add(f"lose,method=updates,account={ME}")
    async with UpdateCollector(bot_client) as collector:
        send_private(sandbox, "one")
        await collector.receives("one")


async def test_many_pushes_cause_few_requests(sandbox: Sandbox, bot_client: BotClient) -> None:
    async with UpdateCollector(bot_client) as collector:
        send_private(sandbox, *numbers(90))
        await collector.receives(*numbers(90))
    assert sandbox.counters.requests(method="updates.getDifference", account=ME) < 15


async def test_messages_of_groups_are_received(
    sandbox: Sandbox, bot_client: BotClient, group: Chat, anna: Person
) -> None:
    async with UpdateCollector(bot_client) as collector:
        await anna.send("thegroup", "not for the bot")
        asked = await anna.send("thegroup", f"@{BOT} one")
        await anna.send(BOT, "two")
        await collector.until(lambda: len(collector.updates) == 2)
        one = next(each for each in collector.updates if each.chat < 0)
        assert (one.chat, one.sender.id, one.sender.name) == (-1001600000010, ANNA, "Sandbox Person")
        assert isinstance(one, type(collector.updates[0]))
        collector.updates.clear()
        number = await bot_client.send_text(one.chat, "yes?", reply_to=asked.id)
        assert number == asked.id + 1
        shown = await anna.receives(lambda message: message.text == "yes?")
        await shown.reply("this")
        (this,) = await collector.receives("this")
        assert (this.for_me, this.reply_to) == (True, number)


async def test_group_messages_addressed_to_the_bot_are_marked(
    sandbox: Sandbox, bot_client: BotClient, group: Chat, anna: Person
) -> None:
    account(sandbox, ME).reads_groups = True
    async with UpdateCollector(bot_client) as collector:
        asked = await anna.send("thegroup", "just so")
        await asked.reply("an answer to myself")
        for text in (f"hey @{BOT}!", f"/save@{BOT} x", "/save", "/save@other_bot", "@sandbox_bota"):
            await anna.send("thegroup", text)
        await collector.until(lambda: len(collector.updates) == 7)
        for_me = [each.text for each in collector.updates if not hasattr(each, "query") and each.for_me]
        assert for_me == [f"hey @{BOT}!", f"/save@{BOT} x"]


async def test_messages_of_small_groups_are_received(
    sandbox: Sandbox, bot_client: BotClient, anna: Person
) -> None:
    members = {ME, samples.USER.id, ANNA}
    sandbox.world.private_chats.add_group(Group(id=FEW, title="Few", members=members))
    peer = tl.InputPeerChat(FEW)
    async with UpdateCollector(bot_client) as collector:
        await anna.send(peer, f"@{BOT} hi")
        (hi,) = await collector.receives(f"@{BOT} hi")
        assert (hi.chat, hi.for_me, hi.private) == (-FEW, True, False)
        assert hi.link == f"tg://openmessage?chat_id={FEW}&message_id={hi.id}"
        await bot_client.send_text(hi.chat, "yes?")
        await (await anna.receives(lambda message: message.text == "yes?")).reply("that")
        (that,) = await collector.receives("that")
        assert that.for_me


async def test_older_messages_of_a_group_joined_while_offline_are_skipped(
    sandbox: Sandbox, bot_client: BotClient
) -> None:
    """Messages sent before the bot was started are not received."""
    members = {ME, samples.USER.id, ANNA}
    old = sandbox.world.add_chat(Chat(id=GROUP + 1, title="Old", broadcast=False, members=members))
    await bot_client.close()
    send_to_group(sandbox, old, *numbers(250), hours_ago=1)
    await bot_client.open()
    position = await _start(bot_client)
    await bot_client.close()
    new = sandbox.world.add_chat(Chat(id=GROUP + 2, title="New", broadcast=False, members=members))
    send_to_group(sandbox, new, *numbers(5))
    send_to_group(sandbox, old, "new")
    await bot_client.open()
    async with UpdateCollector(bot_client, position) as collector:
        await collector.until(lambda: len(collector.updates) == 6)
        assert sorted(
            each.text for each in collector.updates if isinstance(each, Letter)
        ) == addressed_to_bot([*numbers(5), "new"])


async def test_a_group_with_a_long_history_is_read_from_its_end(
    sandbox: Sandbox, bot_client: BotClient
) -> None:
    position = await _start(bot_client)
    await bot_client.close()
    members = {ME, samples.USER.id, ANNA}
    busy = sandbox.world.add_chat(Chat(id=GROUP + 2, title="Busy", broadcast=False, members=members))
    send_to_group(sandbox, busy, *numbers(1000), hours_ago=1)
    send_to_group(sandbox, busy, "new")
    await bot_client.open()
    async with UpdateCollector(bot_client, position) as collector:
        await collector.receives(*addressed_to_bot(["new"]))
        assert collector.position is not None
        assert collector.position.channels[busy.id] == busy.box.pts
        assert sandbox.counters.requests(method="updates.getChannelDifference") < 9  # also of other groups
        send_to_group(sandbox, busy, *numbers(300, 100))
        await collector.receives(*addressed_to_bot(numbers(300, 100)))


async def test_a_group_whose_position_is_refused_is_read_from_its_end(
    sandbox: Sandbox, bot_client: BotClient, group: Chat
) -> None:
    send_to_group(sandbox, group, *numbers(1000), hours_ago=1)
    position = await _start(bot_client)
    send_to_group(sandbox, group, "new")
    new = list(group.messages.values())[-1]
    await until(lambda: datetime.now(UTC) > new.date + timedelta(seconds=1))  # Telegram's clock goes on
    wrong = Position(position.pts, position.qts, position.date, {GROUP: 999_999})
    async with UpdateCollector(bot_client, wrong) as collector:
        await collector.receives(*addressed_to_bot(["new"]))
        assert sandbox.counters.requests(method="updates.getChannelDifference") < 9  # also of other groups


async def test_a_new_session_loses_no_update(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, group: Chat
) -> None:
    async with UpdateCollector(bot_client) as collector:
        await anna.send(BOT, "/start")
        (start,) = await collector.receives("/start")
        await bot_client.send_text(start.chat, "CallbackQuery", ((Button("Now", "now"),),))
        shown = await anna.receives(lambda message: message.text == "CallbackQuery")
        send_to_group(sandbox, group, "one")
        await collector.receives(*addressed_to_bot(["one"]))
        listening = [each for each in sandbox.centers[2].connections if each.receives_updates and each.key]
        (mine,) = (each for each in listening if each.key and each.key.account == ME)
        sandbox.renew_sessions(ME)
        send_private(sandbox, "two")  # is not pushed …
        send_to_group(sandbox, group, "three")
        await until(lambda: mine.receives_updates)
        press = asyncio.create_task(anna.press(shown, "Now"))
        await collector.until(lambda: len(collector.updates) == 3)
        said = sorted(each.text for each in collector.updates if isinstance(each, Letter))
        assert said == sorted(["two", *addressed_to_bot(["three"])])  # … and is heard all the same
        (pressed,) = (each for each in collector.updates if isinstance(each, CallbackQuery))
        await bot_client.answer_callback(pressed)
        await press


async def test_a_group_that_removed_the_bot_blocks_nothing(
    sandbox: Sandbox, bot_client: BotClient, group: Chat
) -> None:
    async with UpdateCollector(bot_client) as collector:
        send_to_group(sandbox, group, "one")
        await collector.receives(*addressed_to_bot(["one"]))
    assert collector.position is not None
    assert collector.position.channels[GROUP] == group.box.pts
    group.members.discard(ME)
    group.username = ""
    async with UpdateCollector(bot_client, collector.position) as collector:
        send_private(sandbox, "two")
        await collector.receives("two")
        await collector.until(lambda: collector.position and GROUP not in collector.position.channels)


@pytest.mark.parametrize("error", ["400:WHO_KNOWS", "500:PERSISTENT_TIMESTAMP_OUTDATED"])
async def test_a_group_that_fails_is_read_later(
    sandbox: Sandbox, bot_client: BotClient, group: Chat, error: str
) -> None:
    fault = sandbox.faults.add(f"error={error},method=updates.getChannelDifference")
    async with UpdateCollector(bot_client) as collector:
        send_to_group(sandbox, group, "one")
        await collector.until(lambda: collector.position and GROUP in collector.position.channels)
        send_private(sandbox, "two")
        await collector.receives("two")
        sandbox.faults.remove(fault)
        send_to_group(sandbox, group, "three")
        await collector.until(lambda: len(collector.updates) == 2)
        await collector.receives(*addressed_to_bot(["one", "three"]))


async def test_when_too_much_was_missed_only_the_newest_are_received(
    sandbox: Sandbox, bot_client: BotClient, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_MAX_EVENTS", 20)
    async with UpdateCollector(bot_client) as collector:
        send_to_group(sandbox, group, "one")
        await collector.receives(*addressed_to_bot(["one"]))
    send_to_group(sandbox, group, *numbers(30))
    async with UpdateCollector(bot_client, collector.position) as collector:
        await collector.receives(*addressed_to_bot(numbers(30, 20)))
        send_to_group(sandbox, group, "live")
        await collector.receives(*addressed_to_bot(["live"]))


async def test_a_silent_connection_is_replaced(
    sandbox: Sandbox, bot_client: BotClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_POLL_SECONDS", 0.5)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.5)
    async with UpdateCollector(bot_client) as collector:
        sandbox.faults.add(f"silent,method=updates,account={ME},count=1")
        send_private(sandbox, "one")
        await collector.receives("one")


async def test_an_unknown_position_starts_over(sandbox: Sandbox, bot_client: BotClient, group: Chat) -> None:
    """For example that of another bot."""
    send_to_group(sandbox, group, *numbers(250), hours_ago=1)
    position = Position(999_999, 1, 1, {GROUP: 999_999})
    async with UpdateCollector(bot_client, position) as collector:
        await collector.until(
            lambda: collector.position and collector.position.channels.get(GROUP) == group.box.pts
        )
        send_private(sandbox, "one")
        await collector.receives("one")
        send_to_group(sandbox, group, "two")
        await collector.receives(*addressed_to_bot(["two"]))


async def test_a_revoked_login_is_renewed(sandbox: Sandbox, bot_client: BotClient) -> None:
    async with UpdateCollector(bot_client) as collector:
        send_private(sandbox, "one")
        await collector.receives("one")
        sandbox.faults.add(f"revoke=AUTH_KEY_UNREGISTERED,account={ME},count=1,method=updates.getDifference")
        send_private(sandbox, "two")
        await collector.receives("two")
        assert sandbox.counters.requests(method="auth.importBotAuthorization") == 2


async def test_a_revoked_token_is_reported(sandbox: Sandbox, bot_client: BotClient) -> None:
    position = await _start(bot_client)
    sandbox.faults.add(f"revoke=AUTH_KEY_UNREGISTERED,account={ME},count=1,method=updates.getDifference")
    account(sandbox, ME).token = "7:other"
    with pytest.raises(NeedsLogin, match="token"):
        async for _ in bot_client.updates(position):
            pass


async def test_messages_of_bots_and_channels_are_ignored(
    sandbox: Sandbox, bot_client: BotClient, group: Chat
) -> None:
    other = SandboxAccount(id=7000000002, name="B", username="other_bot", token="7:b")
    sandbox.world.add_account(other)
    group.members.add(other.id)
    async with UpdateCollector(bot_client) as collector:
        send_to_group(sandbox, group, "beep", sender=other.id)
        send_to_group(sandbox, group, "who am I", sender=ME)
        send_to_group(sandbox, group, "one")
        await collector.receives(*addressed_to_bot(["one"]))
