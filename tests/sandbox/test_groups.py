"""Small groups, which are not channels: each member has separate messages and ids."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from telethon import Button, events
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Group
from tests.sandbox.clients import Person, bot, named, person

GROUP = tl.InputPeerChat(4001)


@pytest.fixture(autouse=True)
def group(sandbox: Sandbox) -> Group:
    members = {samples.BOT.id, samples.USER.id, samples.PERSON.id}
    return sandbox.world.private_chats.add_group(Group(id=GROUP.chat_id, title="Few", members=members))


@pytest.fixture
async def anna(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with person(sandbox) as one:
        yield one


@pytest.fixture
async def bert(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with person(sandbox, samples.USER.id) as one:
        yield one


@pytest.fixture
async def robot(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with bot(sandbox, receive_updates=True, sequential_updates=True) as client:
        yield Person(client)


def contains(text: str) -> Any:
    return lambda message: message.text == text


async def test_members_receive_messages_and_replies_of_each_other(anna: Person, bert: Person) -> None:
    await anna.send("me", "a note")  # so that ids differ
    question = await anna.send(GROUP, "who?")
    got = await bert.receives(contains("who?"))
    assert (got.sender_id, got.chat_id, got.is_group) == (samples.PERSON.id, -GROUP.chat_id, True)
    assert (question.id, got.id) == (2, 1)
    await got.reply("me")
    answer = await anna.receives(contains("me"))
    assert (answer.reply_to_msg_id, answer.sender_id) == (question.id, samples.USER.id)
    assert [dialog.title for dialog in await anna.client.get_dialogs()] == ["Few", "Sandbox Person"]
    assert (await bert.client.get_entity(-GROUP.chat_id)).title == "Few"


async def test_a_bot_receives_only_messages_addressed_to_it(
    anna: Person, bert: Person, robot: Person
) -> None:
    await anna.send(GROUP, "secret")
    await anna.send(GROUP, "@sandbox_bot hi")
    got = await robot.receives(contains("@sandbox_bot hi"))
    answer = await got.reply("yes?")
    shown = await bert.receives(contains("yes?"))
    await shown.reply("never mind")
    await robot.receives(contains("never mind"))
    assert [message.text for message in robot.received] == ["@sandbox_bot hi", "never mind"]
    assert robot.received[-1].reply_to_msg_id == answer.id


async def test_buttons_edits_and_deletions_reach_every_member(
    sandbox: Sandbox, anna: Person, bert: Person, robot: Person
) -> None:
    async def pressed(event: Any) -> None:
        await event.answer("pressed")
        await event.edit("done")

    robot.client.add_event_handler(pressed, events.CallbackQuery())
    await anna.send(GROUP, "/start")
    await (await robot.receives(contains("/start"))).respond("choose", buttons=[Button.inline("Go", b"go")])
    shown = await bert.receives(contains("choose"))
    assert (await bert.press(shown, "Go")).message == "pressed"
    assert (await anna.receives(contains("done"))).id == (await anna.receives(contains("choose"))).id
    gone = asyncio.Queue[Any]()
    anna.client.add_event_handler(gone.put, events.MessageDeleted())
    await robot.client.delete_messages(GROUP, [(await robot.client.send_message(GROUP, "oops")).id])
    oops = await anna.receives(contains("oops"))
    assert (await asyncio.wait_for(gone.get(), 30)).deleted_ids == [oops.id]


async def test_files_are_sent_and_downloaded(anna: Person, bert: Person) -> None:
    await anna.send(GROUP, named(b"data", "a.bin"))
    got = await bert.receives(lambda message: message.file)
    assert await bert.client.download_media(got, bytes) == b"data"
    (read,) = await bert.client.get_messages(GROUP, ids=[got.id])
    assert read.file.name == "a.bin"


async def test_users_who_are_not_members_have_no_access(sandbox: Sandbox, group: Group, anna: Person) -> None:
    group.members.discard(samples.PERSON.id)
    for request in (
        fn.messages.GetHistoryRequest(GROUP, 0, None, 0, 10, 0, 0, 0),
        fn.messages.SendMessageRequest(GROUP, "let me in", random_id=1),
        fn.messages.GetChatsRequest([GROUP.chat_id]),
    ):
        with pytest.raises(tg.PeerIdInvalidError):
            await anna.client(request)
