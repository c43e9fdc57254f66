"""What is said to the bot reaches it exactly once and in order, whatever happens to connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from tests.integration.telegram.ears import Ear
from tests.sandbox.clients import Person, person

BOT, ANNA, ME = "sandbox_bot", samples.PERSON.id, samples.BOT.id
GROUP, FEW = 1600000010, 4001


@pytest.fixture
def config(sandbox: Sandbox) -> Any:
    return table(sandbox, bot=True)


@pytest.fixture
async def talk(config: Any, tmp_path: Path, redis: Redis) -> AsyncIterator[BotClient]:
    talk = BotClient(config, tmp_path, store_of(redis))
    await talk.open()
    yield talk
    await talk.close()


@pytest.fixture
async def anna(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with person(sandbox) as one:
        yield one


@pytest.fixture
def group(sandbox: Sandbox) -> Chat:
    members = {ME, samples.USER.id, ANNA}
    chat = Chat(id=GROUP, title="Group", username="thegroup", broadcast=False, members=members)
    return sandbox.world.add_chat(chat)


def account(sandbox: Sandbox, id_: int) -> SandboxAccount:
    return sandbox.world.accounts[id_]


def whisper(sandbox: Sandbox, *texts: str) -> None:
    """Anna says something to the bot."""
    side = sandbox.world.private_chats.side(account(sandbox, ANNA), account(sandbox, ME))
    for text in texts:
        sandbox.world.send(side, StoredMessage(id=0, text=text, sender=ANNA))


def call(sandbox: Sandbox, chat: Chat, *texts: str, sender: int = ANNA, hours_ago: int = 0) -> None:
    """She says something to the bot in a group."""
    for text in texts:
        said = f"@{BOT} {text}"
        mention = tl.MessageEntityMention(0, len(BOT) + 1)
        date = datetime.now(UTC) - timedelta(hours=hours_ago)
        sandbox.world.send(
            chat, StoredMessage(id=0, text=said, entities=(mention,), sender=sender, date=date)
        )


def numbers(last: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, last)]


def to_bot(texts: list[str]) -> list[str]:
    return [f"@{BOT} {text}" for text in texts]


async def test_messages_sent_while_offline_are_received_later(
    sandbox: Sandbox, config: Any, tmp_path: Path, redis: Redis
) -> None:
    first, second = BotClient(config, tmp_path, store_of(redis)), BotClient(config, tmp_path, store_of(redis))
    await first.open()
    async with Ear(first) as ear:
        whisper(sandbox, "before")
        await ear.hears("before")
    await first.close()
    whisper(sandbox, *numbers(150))
    await second.open()
    async with Ear(second, ear.position) as ear:
        await ear.hears(*numbers(150))
        whisper(sandbox, "live")
        await ear.hears("live")
    await second.close()


async def test_receiving_can_continue_from_every_position(
    sandbox: Sandbox, talk: BotClient, group: Chat
) -> None:
    """Whoever is killed after any batch hears the rest, and nothing again."""
    position, heard, batches = await _start(talk), list[str](), 0
    account(sandbox, ME).reads_groups = True
    for first in (0, 120, 240):
        whisper(sandbox, *numbers(first + 120, first))
        call(sandbox, group, *numbers(first + 120, first))
    while len(heard) < 720:
        async with asyncio.timeout(20):
            letters, position = await anext(talk.updates(position))
        heard += [letter.text for letter in letters if isinstance(letter, Letter)]
        batches += 1
    assert batches >= 8
    assert [each for each in heard if each.isdigit()] == numbers(360)
    assert [each for each in heard if not each.isdigit()] == to_bot(numbers(360))


async def _start(talk: BotClient) -> Position:
    _, position = await anext(talk.updates(None))
    return position


async def test_a_dropped_connection_loses_nothing(sandbox: Sandbox, talk: BotClient) -> None:
    async with Ear(talk) as ear:
        whisper(sandbox, "0")
        await ear.hears("0")
        sandbox.faults.add(f"drop,method=updates,account={ME},every=7")
        sandbox.faults.add(f"drop,method=updates.getDifference,account={ME},every=3")
        for number in numbers(60, 1):
            whisper(sandbox, number)
            await asyncio.sleep(0)
        await ear.hears(*numbers(60, 1))


async def test_lost_pushes_are_fetched_with_the_next(sandbox: Sandbox, talk: BotClient) -> None:
    async with Ear(talk) as ear:
        sandbox.faults.add(f"lose,method=updates,account={ME},count=2")
        whisper(sandbox, "one", "two", "three")
        await ear.hears("one", "two", "three")


async def test_without_pushes_the_client_polls(
    sandbox: Sandbox, talk: BotClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_POLL_SECONDS", 0.2)
    sandbox.faults.add(f"lose,method=updates,account={ME}")
    async with Ear(talk) as ear:
        whisper(sandbox, "one")
        await ear.hears("one")


async def test_many_pushes_cause_few_requests(sandbox: Sandbox, talk: BotClient) -> None:
    async with Ear(talk) as ear:
        whisper(sandbox, *numbers(90))
        await ear.hears(*numbers(90))
    assert sandbox.counters.requests(method="updates.getDifference", account=ME) < 15


async def test_messages_of_groups_are_received(
    sandbox: Sandbox, talk: BotClient, group: Chat, anna: Person
) -> None:
    async with Ear(talk) as ear:
        await anna.send("thegroup", "not for the bot")
        asked = await anna.send("thegroup", f"@{BOT} one")
        await anna.send(BOT, "two")
        await ear.until(lambda: len(ear.letters) == 2)
        one = next(each for each in ear.letters if each.chat < 0)
        assert (one.chat, one.sender.id, one.sender.name) == (-1001600000010, ANNA, "Sandbox Person")
        assert isinstance(one, type(ear.letters[0]))
        ear.letters.clear()
        number = await talk.send_text(one.chat, "yes?", reply_to=asked.id)
        assert number == asked.id + 1
        shown = await anna.hears(lambda message: message.text == "yes?")
        await shown.reply("this")
        (this,) = await ear.hears("this")
        assert (this.for_me, this.reply_to) == (True, number)


async def test_group_messages_addressed_to_the_bot_are_marked(
    sandbox: Sandbox, talk: BotClient, group: Chat, anna: Person
) -> None:
    account(sandbox, ME).reads_groups = True
    async with Ear(talk) as ear:
        asked = await anna.send("thegroup", "just so")
        await asked.reply("an answer to myself")
        for text in (f"hey @{BOT}!", f"/save@{BOT} x", "/save", "/save@other_bot", "@sandbox_bota"):
            await anna.send("thegroup", text)
        await ear.until(lambda: len(ear.letters) == 7)
        for_me = [each.text for each in ear.letters if not hasattr(each, "query") and each.for_me]
        assert for_me == [f"hey @{BOT}!", f"/save@{BOT} x"]


async def test_messages_of_small_groups_are_received(sandbox: Sandbox, talk: BotClient, anna: Person) -> None:
    members = {ME, samples.USER.id, ANNA}
    sandbox.world.private_chats.add_group(Group(id=FEW, title="Few", members=members))
    peer = tl.InputPeerChat(FEW)
    async with Ear(talk) as ear:
        await anna.send(peer, f"@{BOT} hi")
        (hi,) = await ear.hears(f"@{BOT} hi")
        assert (hi.chat, hi.for_me, hi.private) == (-FEW, True, False)
        assert hi.link == f"tg://openmessage?chat_id={FEW}&message_id={hi.id}"
        await talk.send_text(hi.chat, "yes?")
        await (await anna.hears(lambda message: message.text == "yes?")).reply("that")
        (that,) = await ear.hears("that")
        assert that.for_me


async def test_older_messages_of_a_group_joined_while_offline_are_skipped(
    sandbox: Sandbox, talk: BotClient
) -> None:
    """What was said before the bot listened is not told."""
    members = {ME, samples.USER.id, ANNA}
    old = sandbox.world.add_chat(Chat(id=GROUP + 1, title="Old", broadcast=False, members=members))
    await talk.close()
    call(sandbox, old, *numbers(250), hours_ago=1)
    await talk.open()
    position = await _start(talk)
    await talk.close()
    new = sandbox.world.add_chat(Chat(id=GROUP + 2, title="New", broadcast=False, members=members))
    call(sandbox, new, *numbers(5))
    call(sandbox, old, "new")
    await talk.open()
    async with Ear(talk, position) as ear:
        await ear.until(lambda: len(ear.letters) == 6)
        assert sorted(each.text for each in ear.letters if isinstance(each, Letter)) == to_bot(
            [*numbers(5), "new"]
        )


async def test_a_group_with_a_long_history_is_read_from_its_end(sandbox: Sandbox, talk: BotClient) -> None:
    position = await _start(talk)
    await talk.close()
    members = {ME, samples.USER.id, ANNA}
    busy = sandbox.world.add_chat(Chat(id=GROUP + 2, title="Busy", broadcast=False, members=members))
    call(sandbox, busy, *numbers(1000), hours_ago=1)
    call(sandbox, busy, "new")
    await talk.open()
    async with Ear(talk, position) as ear:
        await ear.hears(*to_bot(["new"]))
        assert ear.position is not None
        assert ear.position.channels[busy.id] == busy.box.pts
        assert sandbox.counters.requests(method="updates.getChannelDifference") < 9  # also of other groups
        call(sandbox, busy, *numbers(300, 100))
        await ear.hears(*to_bot(numbers(300, 100)))


async def test_a_group_whose_position_is_refused_is_read_from_its_end(
    sandbox: Sandbox, talk: BotClient, group: Chat
) -> None:
    call(sandbox, group, *numbers(1000), hours_ago=1)
    position = await _start(talk)
    call(sandbox, group, "new")
    new = list(group.messages.values())[-1]
    await until(lambda: datetime.now(UTC) > new.date + timedelta(seconds=1))  # Telegram's clock goes on
    wrong = Position(position.pts, position.qts, position.date, {GROUP: 999_999})
    async with Ear(talk, wrong) as ear:
        await ear.hears(*to_bot(["new"]))
        assert sandbox.counters.requests(method="updates.getChannelDifference") < 9  # also of other groups


async def test_a_new_session_loses_no_update(
    sandbox: Sandbox, talk: BotClient, anna: Person, group: Chat
) -> None:
    async with Ear(talk) as ear:
        await anna.send(BOT, "/start")
        (start,) = await ear.hears("/start")
        await talk.send_text(start.chat, "CallbackQuery", ((Button("Now", "now"),),))
        shown = await anna.hears(lambda message: message.text == "CallbackQuery")
        call(sandbox, group, "one")
        await ear.hears(*to_bot(["one"]))
        listening = [each for each in sandbox.centers[2].connections if each.receives_updates and each.key]
        (mine,) = (each for each in listening if each.key and each.key.account == ME)
        sandbox.renew_sessions(ME)
        whisper(sandbox, "two")  # is not pushed …
        call(sandbox, group, "three")
        await until(lambda: mine.receives_updates)
        press = asyncio.create_task(anna.press(shown, "Now"))
        await ear.until(lambda: len(ear.letters) == 3)
        said = sorted(each.text for each in ear.letters if isinstance(each, Letter))
        assert said == sorted(["two", *to_bot(["three"])])  # … and is heard all the same
        (pressed,) = (each for each in ear.letters if isinstance(each, CallbackQuery))
        await talk.answer_callback(pressed)
        await press


async def test_a_group_that_removed_the_bot_blocks_nothing(
    sandbox: Sandbox, talk: BotClient, group: Chat
) -> None:
    async with Ear(talk) as ear:
        call(sandbox, group, "one")
        await ear.hears(*to_bot(["one"]))
    assert ear.position is not None
    assert ear.position.channels[GROUP] == group.box.pts
    group.members.discard(ME)
    group.username = ""
    async with Ear(talk, ear.position) as ear:
        whisper(sandbox, "two")
        await ear.hears("two")
        await ear.until(lambda: ear.position and GROUP not in ear.position.channels)


@pytest.mark.parametrize("error", ["400:WHO_KNOWS", "500:PERSISTENT_TIMESTAMP_OUTDATED"])
async def test_a_group_that_fails_is_read_later(
    sandbox: Sandbox, talk: BotClient, group: Chat, error: str
) -> None:
    fault = sandbox.faults.add(f"error={error},method=updates.getChannelDifference")
    async with Ear(talk) as ear:
        call(sandbox, group, "one")
        await ear.until(lambda: ear.position and GROUP in ear.position.channels)
        whisper(sandbox, "two")
        await ear.hears("two")
        sandbox.faults.remove(fault)
        call(sandbox, group, "three")
        await ear.until(lambda: len(ear.letters) == 2)
        await ear.hears(*to_bot(["one", "three"]))


async def test_when_too_much_was_missed_only_the_newest_are_received(
    sandbox: Sandbox, talk: BotClient, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_MAX_EVENTS", 20)
    async with Ear(talk) as ear:
        call(sandbox, group, "one")
        await ear.hears(*to_bot(["one"]))
    call(sandbox, group, *numbers(30))
    async with Ear(talk, ear.position) as ear:
        await ear.hears(*to_bot(numbers(30, 20)))
        call(sandbox, group, "live")
        await ear.hears(*to_bot(["live"]))


async def test_a_silent_connection_is_replaced(
    sandbox: Sandbox, talk: BotClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_POLL_SECONDS", 0.5)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.5)
    async with Ear(talk) as ear:
        sandbox.faults.add(f"silent,method=updates,account={ME},count=1")
        whisper(sandbox, "one")
        await ear.hears("one")


async def test_an_unknown_position_starts_over(sandbox: Sandbox, talk: BotClient, group: Chat) -> None:
    """Such as that of another bot: it begins anew."""
    call(sandbox, group, *numbers(250), hours_ago=1)
    position = Position(999_999, 1, 1, {GROUP: 999_999})
    async with Ear(talk, position) as ear:
        await ear.until(lambda: ear.position and ear.position.channels.get(GROUP) == group.box.pts)
        whisper(sandbox, "one")
        await ear.hears("one")
        call(sandbox, group, "two")
        await ear.hears(*to_bot(["two"]))


async def test_a_revoked_login_is_renewed(sandbox: Sandbox, talk: BotClient) -> None:
    async with Ear(talk) as ear:
        whisper(sandbox, "one")
        await ear.hears("one")
        sandbox.faults.add(f"revoke=AUTH_KEY_UNREGISTERED,account={ME},count=1,method=updates.getDifference")
        whisper(sandbox, "two")
        await ear.hears("two")
        assert sandbox.counters.requests(method="auth.importBotAuthorization") == 2


async def test_a_revoked_token_is_reported(sandbox: Sandbox, talk: BotClient) -> None:
    position = await _start(talk)
    sandbox.faults.add(f"revoke=AUTH_KEY_UNREGISTERED,account={ME},count=1,method=updates.getDifference")
    account(sandbox, ME).token = "7:other"
    with pytest.raises(NeedsLogin, match="token"):
        async for _ in talk.updates(position):
            pass


async def test_messages_of_bots_and_channels_are_ignored(
    sandbox: Sandbox, talk: BotClient, group: Chat
) -> None:
    other = SandboxAccount(id=7000000002, name="B", username="other_bot", token="7:b")
    sandbox.world.add_account(other)
    group.members.add(other.id)
    async with Ear(talk) as ear:
        call(sandbox, group, "beep", sender=other.id)
        call(sandbox, group, "who am I", sender=ME)
        call(sandbox, group, "one")
        await ear.hears(*to_bot(["one"]))
