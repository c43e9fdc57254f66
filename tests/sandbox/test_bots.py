"""Bots: keyboards, commands, and the users they may write to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from telethon import Button, events
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, access, samples
from saveany.sandbox.world import Chat, SandboxAccount
from tests.sandbox.clients import Person, bot, person, telethon, user

BOT = "sandbox_bot"


@pytest.fixture
async def anna(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with person(sandbox) as one:
        yield one


@pytest.fixture
async def robot(sandbox: Sandbox) -> AsyncIterator[Any]:
    """The bot's client: it replies to a text with a keyboard, and to a press with the label of the button."""
    async with bot(sandbox, receive_updates=True, sequential_updates=True) as client:

        async def offer(event: Any) -> None:
            await event.respond(
                "choose", buttons=[[Button.inline("Left", b"l"), Button.inline("Right", b"r")]]
            )

        async def pressed(event: Any) -> None:
            await event.answer(f"you said {event.data.decode()}", alert=True)
            await event.edit(f"chosen: {event.data.decode()}")

        client.add_event_handler(offer, events.NewMessage(incoming=True))
        client.add_event_handler(pressed, events.CallbackQuery())
        yield client


def contains(text: str) -> Any:
    return lambda message: message.text == text


async def test_pressing_a_button_reaches_the_bot(anna: Person, robot: Any) -> None:
    await anna.send(BOT, "hello")
    shown = await anna.receives(contains("choose"))
    answer = await anna.press(shown, "Right")
    assert (answer.message, answer.alert) == ("you said r", True)
    changed = await anna.receives(contains("chosen: r"))
    assert (changed.id, changed.buttons) == (shown.id, None)  # the edit had no keyboard


async def test_buttons_work_in_groups(sandbox: Sandbox, anna: Person, robot: Any) -> None:
    members = {samples.BOT.id, samples.PERSON.id, samples.USER.id}
    sandbox.world.add_chat(Chat(id=16, title="G", username="thegroup", broadcast=False, members=members))
    await anna.send("thegroup", "@sandbox_bot hello")
    shown = await anna.receives(contains("choose"))
    async with user(sandbox) as other:  # somebody else may press it too
        peer = await other.get_input_entity("thegroup")
        pressed = await other(fn.messages.GetBotCallbackAnswerRequest(peer, shown.id, data=b"l"))
        assert pressed.message == "you said l"


async def test_a_press_that_the_bot_does_not_answer_times_out(sandbox: Sandbox, anna: Person) -> None:
    sandbox.world.callback_timeout = 0.1
    async with bot(sandbox) as client:  # does not listen
        await anna.send(BOT, "hello")
        await client.send_message(samples.PERSON.id, "choose", buttons=[Button.inline("Left", b"l")])
        shown = await anna.receives(contains("choose"))
        with pytest.raises(tg.BotResponseTimeoutError):
            await anna.press(shown, "Left")
        with pytest.raises(tg.DataInvalidError):
            await anna.client(fn.messages.GetBotCallbackAnswerRequest(BOT, shown.id, data=b"x"))
        with pytest.raises(tg.MessageIdInvalidError):
            await anna.client(fn.messages.GetBotCallbackAnswerRequest(BOT, 99, data=b"l"))
    assert sandbox.world.callback_queries == {}


async def test_a_press_is_answered_once_and_by_its_bot(sandbox: Sandbox, anna: Person) -> None:
    async with bot(sandbox, receive_updates=True) as client:
        presses = asyncio.Queue[Any]()
        client.add_event_handler(presses.put, events.CallbackQuery())
        await anna.send(BOT, "hello")
        await client.send_message(samples.PERSON.id, "choose", buttons=[Button.inline("Left", b"l")])
        pressing = asyncio.create_task(anna.press(await anna.receives(contains("choose")), "Left"))
        number = (await presses.get()).query.query_id
        answer = fn.messages.SetBotCallbackAnswerRequest
        with pytest.raises(tg.MessageTooLongError):
            await client(answer(number, 0, message="x" * 201))
        with pytest.raises(tg.UserBotRequiredError):
            await anna.client(answer(number, 0))
        assert await client(answer(number, 0, message="fine"))
        assert (await pressing).message == "fine"
        with pytest.raises(tg.QueryIdInvalidError):
            await client(answer(number, 0, message="again"))


async def test_a_client_that_disconnects_while_waiting_leaves_no_state(sandbox: Sandbox, robot: Any) -> None:
    async with bot(sandbox) as quiet, person(sandbox) as anna:
        robot.remove_event_handler(robot.list_event_handlers()[1][0])  # presses are not answered
        await anna.send(BOT, "hello")
        shown = await anna.receives(contains("choose"))
        pressing = asyncio.create_task(anna.press(shown, "Left"))
        while not sandbox.world.callback_queries:
            await quiet.get_me()
        await anna.client.disconnect()
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            await pressing
        while sandbox.world.callback_queries:
            await quiet.get_me()


@pytest.mark.parametrize(
    ("buttons", "error"),
    [
        ([Button.inline("", b"x")], "ButtonText"),
        ([Button.url("t", "ftp://x")], "ButtonUrl"),
        ([[Button.inline("t", b"x")] * 101], "ReplyMarkupTooLong"),
        ([tl.KeyboardInlineButton("t", tl.InlineButtonTypeCallback(b"x" * 65))], "ButtonData"),
    ],
)
async def test_invalid_keyboards_are_refused(
    anna: Person, robot: Any, buttons: list[Any], error: str
) -> None:
    await anna.send(BOT, "hello")
    await anna.receives(contains("choose"))
    rows = [tl.KeyboardInlineButtonRow(row if isinstance(row, list) else [row]) for row in buttons]
    with pytest.raises(tg.RPCError) as caught:
        await robot(
            fn.messages.SendMessageRequest(
                samples.PERSON.id, "x", random_id=1, reply_markup=tl.ReplyInlineMarkup(rows)
            )
        )
    assert error in type(caught.value).__name__


async def test_users_cannot_send_keyboards(anna: Person) -> None:
    markup = tl.ReplyInlineMarkup([tl.KeyboardInlineButtonRow([Button.inline("t", b"x")])])
    with pytest.raises(tg.ReplyMarkupInvalidError):
        await anna.client(fn.messages.SendMessageRequest("me", "x", random_id=1, reply_markup=markup))


async def test_bots_cannot_start_conversations_or_write_to_users_who_blocked_them(
    sandbox: Sandbox, anna: Person
) -> None:
    async with bot(sandbox) as client:
        me = samples.PERSON.id
        target = tl.InputPeerUser(me, access.access_hash(sandbox.world.accounts[samples.BOT.id], me))
        with pytest.raises(tg.PeerIdInvalidError):
            await client.send_message(target, "buy")
        await anna.send(BOT, "hello")
        await client.send_message(target, "hi")
        for blocked in (fn.contacts.BlockRequest(BOT), fn.contacts.BlockRequest(BOT)):
            assert await anna.client(blocked)
        with pytest.raises(tg.UserIsBlockedError):
            await client.send_message(target, "buy")
        with pytest.raises(tg.YouBlockedUserError):
            await anna.send(BOT, "hello?")
        assert await anna.client(fn.contacts.UnblockRequest(BOT))
        await client.send_message(target, "thanks")
        with pytest.raises(tg.ContactIdInvalidError):
            await anna.client(fn.contacts.BlockRequest("me"))


async def test_a_bot_is_notified_when_a_user_blocks_it(sandbox: Sandbox, anna: Person, robot: Any) -> None:
    stops = asyncio.Queue[Any]()
    robot.add_event_handler(stops.put, events.Raw(tl.UpdateBotStopped))
    state = await robot(fn.updates.GetStateRequest())
    await anna.client(fn.contacts.BlockRequest(BOT))
    update = await asyncio.wait_for(stops.get(), 30)
    assert (update.user_id, update.stopped, update.qts) == (samples.PERSON.id, True, state.qts + 1)
    await anna.client(fn.contacts.UnblockRequest(BOT))
    missed = await robot(fn.updates.GetDifferenceRequest(state.pts, state.date, state.qts))
    assert [one.stopped for one in missed.other_updates if isinstance(one, tl.UpdateBotStopped)] == [
        True,
        False,
    ]
    assert [one.id for one in missed.users] == [samples.PERSON.id]


async def test_bots_cannot_write_to_bots(sandbox: Sandbox) -> None:
    other = sandbox.world.add_account(
        SandboxAccount(id=7000000002, name="B", username="other_bot", token="7:b")
    )
    async with bot(sandbox) as client:
        with pytest.raises(tg.UserIsBotError):
            await client.send_message("other_bot", "hello")
        with pytest.raises(tg.PeerIdInvalidError):
            await client.send_message("me", "a note")
    async with telethon(sandbox, sandbox.session(other.id)) as client:
        assert (await client.get_me()).username == "other_bot"


async def test_commands_are_published_per_scope_and_language(
    sandbox: Sandbox, anna: Person, robot: Any
) -> None:
    async def seen() -> list[str]:
        full = await anna.client(fn.users.GetFullUserRequest(BOT))
        return [command.description for command in full.full_user.bot_info.commands or ()]

    everyone, users = tl.BotCommandScopeDefault(), tl.BotCommandScopeUsers()
    assert await seen() == []
    for scope, language, text in ((everyone, "", "Help"), (everyone, "zh", "帮助"), (users, "zh", "帮")):
        await robot(fn.bots.SetBotCommandsRequest(scope, language, [tl.BotCommand("help", text)]))
    assert await seen() == ["Help"]
    sandbox.world.accounts[samples.PERSON.id].language = "zh"
    assert await seen() == ["帮"]
    await robot(fn.bots.ResetBotCommandsRequest(users, "zh"))
    assert await seen() == ["帮助"]
    kept = await robot(fn.bots.GetBotCommandsRequest(everyone, "zh"))
    assert [(command.command, command.description) for command in kept] == [("help", "帮助")]
    mine = tl.BotCommandScopePeer(await robot.get_input_entity(await known(anna, robot)))
    await robot(fn.bots.SetBotCommandsRequest(mine, "", [tl.BotCommand("admin", "Yours")]))
    assert await seen() == ["Yours"]


async def known(anna: Person, robot: Any) -> int:
    """Let the bot receive a message of the user."""
    await anna.send(BOT, "hello")
    await anna.receives(contains("choose"))
    return samples.PERSON.id


@pytest.mark.parametrize(
    ("command", "language", "error"),
    [
        (tl.BotCommand("Help", "x"), "", tg.BotCommandInvalidError),
        (tl.BotCommand("help", ""), "", tg.BotCommandDescriptionInvalidError),
        (tl.BotCommand("help", "x"), "english", tg.LangCodeInvalidError),
    ],
)
async def test_invalid_commands_are_refused(
    robot: Any, command: Any, language: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await robot(fn.bots.SetBotCommandsRequest(tl.BotCommandScopeDefault(), language, [command]))


async def test_only_bots_set_commands_and_their_number_is_limited(anna: Person, robot: Any) -> None:
    many = [tl.BotCommand(f"c{number}", "x") for number in range(101)]
    with pytest.raises(tg.BotCommandsTooMuchError):
        await robot(fn.bots.SetBotCommandsRequest(tl.BotCommandScopeDefault(), "", many))
    with pytest.raises(tg.UserBotRequiredError):
        await anna.client(fn.bots.GetBotCommandsRequest(tl.BotCommandScopeDefault(), ""))


async def test_a_start_link_passes_its_parameter(anna: Person, robot: Any) -> None:
    heard = asyncio.Queue[Any]()
    robot.add_event_handler(heard.put, events.NewMessage(pattern="/start"))
    target = await anna.client.get_input_entity(BOT)
    await anna.client(fn.messages.StartBotRequest(target, target, "abc", random_id=5))
    message = (await asyncio.wait_for(heard.get(), 30)).message
    assert message.text == "/start abc"
    assert [type(entity) for entity in message.entities] == [tl.MessageEntityBotCommand]
    with pytest.raises(tg.StartParamInvalidError):
        await anna.client(fn.messages.StartBotRequest(target, target, "x" * 65))
    with pytest.raises(tg.BotInvalidError):
        await anna.client(fn.messages.StartBotRequest("sandbox_user", target, "x"))


async def test_typing_notices_and_read_marks_are_accepted(anna: Person, robot: Any) -> None:
    await known(anna, robot)
    async with robot.action(samples.PERSON.id, "document"):
        pass
    assert await anna.client.send_read_acknowledge(BOT)
    assert await anna.client.send_read_acknowledge("sandboxforum") is True


async def test_edits_can_be_slowed_down_by_name(sandbox: Sandbox, anna: Person) -> None:
    async with bot(sandbox) as client:
        await anna.send(BOT, "hello")
        sent = await client.send_message(samples.PERSON.id, "1 %")
        sandbox.faults.add(f"flood_wait=30,method=messages.editMessage,account={samples.BOT.id},count=1")
        with pytest.raises(tg.FloodWaitError) as wait:
            await client.edit_message(sent, "2 %")
        assert wait.value.seconds == 30
        await client.edit_message(sent, "3 %")
        assert sandbox.counters.requests(method="messages.editMessage", account=samples.BOT.id) == 2
