"""Updates reach the clients concerned exactly once, pushed or fetched later."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from telethon import errors as tg
from telethon import events
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, StoredMessage
from tests.sandbox.clients import Person, bot, named, person, telethon, user

BOT, GROUP = "sandbox_bot", 1600000010


@pytest.fixture
async def anna(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with person(sandbox) as one:
        yield one


@pytest.fixture
async def robot(sandbox: Sandbox) -> AsyncIterator[Person]:
    """The bot, which receives updates."""
    async with bot(sandbox, receive_updates=True, sequential_updates=True) as client:
        yield Person(client)


@pytest.fixture
def group(sandbox: Sandbox) -> Chat:
    members = {samples.BOT.id, samples.USER.id, samples.PERSON.id}
    return sandbox.world.add_chat(
        Chat(id=GROUP, title="Group", username="thegroup", broadcast=False, members=members)
    )


def contains(text: str) -> Any:
    return lambda message: message.text == text


async def test_a_user_and_a_bot_exchange_messages(anna: Person, robot: Person) -> None:
    sent = await anna.send(BOT, "hello")
    got = await robot.receives(contains("hello"))
    assert (got.out, got.sender_id, got.is_private) == (False, samples.PERSON.id, True)
    await got.reply("hi")
    answer = await anna.receives(contains("hi"))
    assert answer.sender_id == samples.BOT.id
    assert (await answer.get_reply_message()).id == sent.id
    history = await anna.client.get_messages(BOT, limit=10)
    assert [(message.text, message.out) for message in history] == [("hi", False), ("hello", True)]
    assert [dialog.entity.username for dialog in await anna.client.get_dialogs()] == [BOT]


async def test_private_messages_have_separate_ids_for_each_participant(
    sandbox: Sandbox, anna: Person, robot: Person
) -> None:
    await anna.send("me", "a note")
    sent = await anna.send(BOT, "hello")
    got = await robot.receives(contains("hello"))
    assert (sent.id, got.id) == (2, 1)
    await robot.client.edit_message(await got.respond("one"), "two")
    assert (await anna.receives(contains("two"))).id == 3
    await anna.client.delete_messages(BOT, [sent.id], revoke=True)
    assert await robot.client.get_messages(samples.PERSON.id, ids=[got.id]) == [None]


async def test_files_are_exchanged_with_bots(anna: Person, robot: Person) -> None:
    data = bytes(range(256)) * 3000
    await anna.send(BOT, named(data, "a.bin"), caption="look")
    got = await robot.receives(contains("look"))
    assert await robot.client.download_media(got, bytes) == data
    await robot.client.send_file(samples.PERSON.id, got.media)
    back = await anna.receives(lambda message: message.file)
    assert (back.file.name, await anna.client.download_media(back, bytes)) == ("a.bin", data)


async def test_every_session_receives_updates_unless_it_has_disabled_them(
    sandbox: Sandbox, anna: Person
) -> None:
    async with person(sandbox) as second, telethon(sandbox, sandbox.person_session):
        await anna.send("me", "note")
        await second.receives(contains("note"))
        assert sandbox.counters.requests(method="updates", account=samples.PERSON.id) == 1
        assert anna.received == []  # its answer has said so


async def test_posts_reach_members_only(sandbox: Sandbox, anna: Person, group: Chat) -> None:
    other = sandbox.world.add_chat(Chat(id=GROUP + 1, title="Other", members={samples.USER.id}))
    for chat in (other, group):
        sandbox.world.send(chat, StoredMessage(id=0, text=chat.title, sender=samples.USER.id))
    await anna.receives(contains("Group"))
    assert [message.text for message in anna.received] == ["Group"]


async def test_edits_and_deletions_reach_clients(anna: Person, robot: Person) -> None:
    gone = asyncio.Queue[Any]()
    anna.client.add_event_handler(gone.put, events.MessageDeleted())
    await anna.send(BOT, "start")
    answer = await (await robot.receives(contains("start"))).respond("1 %")
    shown = await anna.receives(contains("1 %"))
    await answer.edit("2 %")
    edited = await anna.receives(contains("2 %"))
    assert (edited.id, edited.edit_date is not None) == (shown.id, True)
    await answer.delete()
    assert (await asyncio.wait_for(gone.get(), 30)).deleted_ids == [shown.id]


async def test_a_lost_update_is_fetched(sandbox: Sandbox, anna: Person, robot: Person) -> None:
    await anna.send(BOT, "one")
    await robot.receives(contains("one"))
    sandbox.faults.add(f"lose,method=updates,account={samples.BOT.id},count=1")
    await anna.send(BOT, "two")
    await anna.send(BOT, "three")
    await robot.receives(contains("three"))
    assert [message.text for message in robot.received] == ["one", "two", "three"]
    assert sandbox.counters.requests(method="updates.getDifference", account=samples.BOT.id) >= 1


async def test_messages_sent_while_offline_are_fetched_later(sandbox: Sandbox, anna: Person) -> None:
    async with bot(sandbox, receive_updates=True) as client:
        robot = Person(client)
        await anna.send(BOT, "before")
        await robot.receives(contains("before"))
        session = client.session
    for number in range(250):  # more than fit into one answer
        sandbox.world.send(
            sandbox.world.private_chats.side(account(sandbox, samples.PERSON), account(sandbox, samples.BOT)),
            StoredMessage(id=0, text=f"{number}", sender=samples.PERSON.id),
        )
    async with telethon(
        sandbox, session=session, receive_updates=True, catch_up=True, sequential_updates=True
    ) as client:
        robot = Person(client)
        await robot.receives(contains("249"))
        assert [message.text for message in robot.received] == [str(number) for number in range(250)]
    assert sandbox.counters.requests(method="updates.getDifference") >= 3


async def test_channel_posts_sent_while_offline_are_fetched_later(sandbox: Sandbox, group: Chat) -> None:
    async with person(sandbox) as anna:
        post_text(sandbox, group, "before")
        await anna.receives(contains("before"))
        session = anna.client.session
    for number in range(10):
        post_text(sandbox, group, f"{number}")
    options = {"receive_updates": True, "catch_up": True, "sequential_updates": True}
    async with telethon(sandbox, session=session, **options) as client:
        anna = Person(client)
        await anna.receives(contains("9"))
        assert [message.text for message in anna.received] == [str(number) for number in range(10)]


async def test_too_many_missed_posts_are_reported_as_a_gap(sandbox: Sandbox, group: Chat) -> None:
    for number in range(130):
        post_text(sandbox, group, f"{number}")
    async with user(sandbox) as client:
        peer = await client.get_input_entity("thegroup")
        empty, before = tl.ChannelMessagesFilterEmpty(), group.box.pts
        ask = fn.updates.GetChannelDifferenceRequest
        late = await client(ask(peer, empty, before - 101, 100))
        assert isinstance(late, tl.updates.ChannelDifferenceTooLong)
        assert (late.dialog.pts, late.messages[0].message) == (before, "129")
        just = await client(ask(peer, empty, before - 100, 100))
        assert (len(just.new_messages), just.pts, just.final) == (100, before, True)
        slices = await client(ask(peer, empty, 1, 1000))
        assert (len(slices.new_messages), slices.final) == (100, False)
        for pts, error in ((0, tg.PersistentTimestampEmptyError), (9999, tg.PersistentTimestampInvalidError)):
            with pytest.raises(error):
                await client(ask(peer, empty, pts, 100))


async def test_too_many_missed_private_messages_are_reported_as_a_gap(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        for number in range(3):
            await client.send_message("me", f"{number}")
        state = await client(fn.updates.GetStateRequest())
        missed = await client(fn.updates.GetDifferenceRequest(1, state.date, 1, pts_total_limit=2))
        assert isinstance(missed, tl.updates.DifferenceTooLong)
        assert missed.pts == state.pts == 4


async def test_differences_include_edits_and_deletions(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        notes = [await client.send_message("me", f"{number}") for number in range(3)]
        state = await client(fn.updates.GetStateRequest())
        await client.edit_message("me", notes[0].id, "changed")
        await client.delete_messages("me", [notes[1].id])
        await client.edit_message(await client.send_message("me", "new"), "newer")
        missed = await client(fn.updates.GetDifferenceRequest(state.pts, state.date, 1))
        assert [message.message for message in missed.new_messages] == ["newer"]
        assert [type(update).__name__ for update in missed.other_updates[:2]] == [
            "UpdateEditMessage",
            "UpdateDeleteMessages",
        ]


@pytest.mark.parametrize("secret", ["hello all", "bye @sandbox_botany"])
async def test_bots_in_privacy_mode_receive_commands_and_replies_only(
    sandbox: Sandbox, robot: Person, group: Chat, secret: str
) -> None:
    async with person(sandbox) as anna:
        for text in (secret, "hey @sandbox_bot", "/help", "/help@other_bot", secret):
            await anna.send("thegroup", text)
        mention = await robot.receives(contains("hey @sandbox_bot"))
        await robot.receives(contains("/help"))
        answer = await mention.reply("yes?")
        question = await anna.receives(contains("yes?"))
        await question.reply("and this")
        await robot.receives(contains("and this"))
        heard = [message.text for message in robot.received]
        assert heard == ["hey @sandbox_bot", "/help", "and this"]
        assert answer.is_group


async def test_bots_without_privacy_mode_receive_all_group_messages(
    sandbox: Sandbox, robot: Person, group: Chat
) -> None:
    account(sandbox, samples.BOT).reads_groups = True
    post_text(sandbox, group, "anything")
    await robot.receives(contains("anything"))


def account(sandbox: Sandbox, sample: Any) -> Any:
    return sandbox.world.accounts[sample.id]


def post_text(sandbox: Sandbox, chat: Chat, text: str) -> None:
    sandbox.world.send(chat, StoredMessage(id=0, text=text, sender=samples.USER.id))
