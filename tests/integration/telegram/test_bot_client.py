"""The bot's Telegram client, with a user who writes to it with an unmodified client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.errors import ConfigError, Permanent, Retryable
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, Group
from saveany.sandbox.world import StoredMessage as Said
from saveany.telegram.bot_client import BotClient, ChatGone
from saveany.telegram.links import parse
from saveany.telegram.update_types import Button, CallbackQuery, ChatMessage, TelegramUser
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, fetch, table
from tests.integration.telegram.update_collector import UpdateCollector
from tests.sandbox.clients import Person as Person
from tests.sandbox.clients import named, person

BOT, ANNA, ME = "sandbox_bot", samples.PERSON.id, samples.BOT.id
CHOICE = ((Button("Left", "pick:l"), Button("Right", "pick:r")), (Button("Help", url="https://example.com"),))


@pytest.fixture
async def collector(bot_client: BotClient, anna: Person) -> AsyncIterator[UpdateCollector]:
    """Collects updates after Anna has started the bot."""
    async with UpdateCollector(bot_client) as collector:
        await anna.send(BOT, "/start")
        await collector.receives("/start")
        yield collector


def contains(text: str) -> Any:
    return lambda message: message.text == text


async def test_a_user_and_the_bot_exchange_messages(bot_client: BotClient, anna: Person) -> None:
    assert (bot_client.me.id, bot_client.me.username) == (ME, BOT)
    async with UpdateCollector(bot_client) as collector:
        await anna.send(BOT, "hello")
        (heard,) = await collector.receives("hello")
        assert heard.sender == TelegramUser(id=ANNA, name="Sandbox Person", username="sandbox_person")
        assert (heard.chat, heard.private, heard.for_me, heard.file) == (ANNA, True, True, None)
        number = await bot_client.send_text(ANNA, "<b>hi</b>, you &amp; me", reply_to=heard.id)
        answer = await anna.receives(contains("**hi**, you & me"))
        assert (number, answer.is_reply) == (heard.id + 1, True)


async def test_a_message_has_the_expected_fields(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    text = "看 https://example.com/a, t.me/channel/5 and this"
    here = tl.MessageEntityTextUrl(text.index("this"), 4, "https://example.com/hidden")
    await anna.client.send_message(BOT, text, formatting_entities=[here])
    (heard,) = await collector.receives(text)
    assert heard.urls == (
        "https://example.com/a",
        "https://t.me/channel/5",
        "https://example.com/hidden",
    )
    sent = await anna.send(BOT, named(b"x" * 70, "a.zip"), caption="look", reply_to=await _first(anna))
    (heard,) = await collector.receives("look")
    assert heard.file is not None
    assert (heard.file.kind, heard.file.size, heard.file.name) == ("document", 70, "a.zip")
    assert heard.reply_to == 1
    assert heard.date_ms == int(sent.date.timestamp() * 1000)


async def _first(anna: Person) -> int:
    """Number of the first message in Anna's view."""
    (oldest,) = await anna.client.get_messages(BOT, limit=1, reverse=True)
    return int(oldest.id)


async def test_the_origin_of_a_forwarded_message_is_known(
    sandbox: Sandbox, anna: Person, collector: UpdateCollector
) -> None:
    sandbox.world.chats[samples.CHANNEL].members.add(ANNA)
    post = await anna.client.get_messages("channel", ids=123)
    await anna.forward(BOT, post)
    (heard,) = await collector.receives(post.message)
    assert (heard.origin, heard.origin_chat) == ("Sample channel", -(10**12 + samples.CHANNEL))
    await anna.forward(BOT, await anna.send("me", "note"))
    (heard,) = await collector.receives("note")
    assert (heard.origin, heard.origin_chat) == ("Sandbox Person", ANNA)


# Speaking.


async def test_a_text_with_a_key_is_sent_once(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    number = await bot_client.send_text(ANNA, "once", key="card:1")
    assert number > 0
    assert await bot_client.send_text(ANNA, "twice", key="card:1") == 0
    assert await bot_client.send_text(ANNA, "other", key="card:2") == number + 1
    await anna.receives(contains("other"))
    assert [message.text for message in anna.received] == ["once", "other"]


async def test_a_lost_reply_sends_nothing_twice(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    sandbox.faults.add(f"drop,method=messages.sendMessage,account={ME},count=1")
    await bot_client.send_text(ANNA, "one")
    await bot_client.send_text(ANNA, "two")
    await anna.receives(contains("two"))
    assert [message.text for message in anna.received] == ["one", "two"]


async def test_a_long_text_is_truncated(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    await bot_client.send_text(ANNA, "<b>" + "😀" * 3000 + "<i>" + "x" * 3000 + "</i></b><code>gone</code>")
    heard = await anna.receives(lambda message: message.raw_text.endswith("…"))
    assert len(heard.raw_text) == 4096
    ends = {type(each): each.offset + each.length for each in heard.entities}
    assert ends == {tl.MessageEntityBold: 3000 + 4096, tl.MessageEntityItalic: 3000 + 4096}


async def test_a_reply_to_a_deleted_message_is_sent_without_reference(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    sent = await anna.send(BOT, "never mind")
    (heard,) = await collector.receives("never mind")
    await anna.client.delete_messages(BOT, [sent.id], revoke=True)
    assert await bot_client.send_text(ANNA, "yes?", reply_to=heard.id, key="k") > 0
    assert not (await anna.receives(contains("yes?"))).is_reply


async def test_messages_are_edited(bot_client: BotClient, anna: Person, collector: UpdateCollector) -> None:
    number = await bot_client.send_text(ANNA, "1 %", CHOICE)
    assert (await anna.receives(contains("1 %"))).button_count == 3
    await bot_client.edit(ANNA, number, "2 %")
    await bot_client.edit(ANNA, number, "2 %")
    assert (await anna.receives(contains("2 %"))).button_count == 0
    await bot_client.delete(ANNA, [number])
    await bot_client.delete(ANNA, [number])
    with pytest.raises(ChatGone):
        await bot_client.edit(ANNA, number, "3 %")


@pytest.mark.parametrize("method", ["messages.sendMessage", "messages.editMessage"])
async def test_flood_waits_are_raised_to_the_caller(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector, method: str
) -> None:
    number = await bot_client.send_text(ANNA, "1 %")
    sandbox.faults.add(f"flood_wait=7,method={method},account={ME},count=1")
    with pytest.raises(Retryable) as caught:
        await (
            bot_client.send_text(ANNA, "2 %") if "send" in method else bot_client.edit(ANNA, number, "2 %")
        )
    assert caught.value.after == 7
    await bot_client.edit(ANNA, number, "3 %")  # another chat may be edited meanwhile
    assert await bot_client.send_text(ANNA, "next") == number + 1


async def test_a_user_who_blocked_the_bot_is_reported(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    await anna.client(fn.contacts.BlockRequest(BOT))
    with pytest.raises(Permanent, match="blocked the bot"):
        await bot_client.send_text(ANNA, "hello?")


async def test_the_command_menu_is_published(sandbox: Sandbox, bot_client: BotClient, anna: Person) -> None:
    await bot_client.set_commands({"": [("help", "Help")], "zh": [("help", "帮助")]})
    sandbox.world.accounts[ANNA].language = "zh"
    full = await anna.client(fn.users.GetFullUserRequest(BOT))
    assert [each.description for each in full.full_user.bot_info.commands] == ["帮助"]


# Buttons.


async def test_a_pressed_button_is_received_and_answered(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    number = await bot_client.send_text(ANNA, "choose", CHOICE)
    pressing = asyncio.create_task(anna.press(await anna.receives(contains("choose")), "Right"))
    press = await collector.receive_callback_query()
    sender = TelegramUser(id=ANNA, name="Sandbox Person", username="sandbox_person")
    assert press == CallbackQuery(query=press.query, chat=ANNA, message=number, sender=sender, data="pick:r")
    await bot_client.answer_callback(press, "x" * 300, alert=True)
    answer = await pressing
    assert (answer.message, answer.alert) == ("x" * 199 + "…", True)
    await bot_client.answer_callback(press)  # it has ended; that is no error


async def test_buttons_in_groups_report_who_pressed_them(
    sandbox: Sandbox, bot_client: BotClient, collector: UpdateCollector
) -> None:
    members = {ME, samples.USER.id, ANNA}
    sandbox.world.private_chats.add_group(Group(id=4001, title="Few", members=members))
    await bot_client.send_text(-4001, "choose", CHOICE)
    async with person(sandbox, samples.USER.id) as bert:
        await bert.send(tl.InputPeerChat(4001), f"@{BOT} where?")
        await collector.receives(f"@{BOT} where?")
        await bot_client.send_text(-4001, "here", CHOICE)
        pressing = asyncio.create_task(bert.press(await bert.receives(contains("here")), "Left"))
        press = await collector.receive_callback_query()
        assert (press.chat, press.sender.id, press.data) == (-4001, samples.USER.id, "pick:l")
        await bot_client.answer_callback(press, "fine")
        assert (await pressing).message == "fine"


async def test_a_callback_query_pushed_twice_is_received_once(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    await bot_client.send_text(ANNA, "choose", CHOICE)
    shown = await anna.receives(contains("choose"))
    pressing = asyncio.create_task(anna.press(shown, "Left"))
    press = await collector.receive_callback_query()
    update = tl.UpdateBotCallbackQuery(press.query, ANNA, tl.PeerUser(ANNA), press.message, 1, b"pick:l")
    heard = bot_client._opened.pushed
    for _ in range(2):
        heard.put_nowait(tl.UpdateShort(update, None))
    await anna.send(BOT, "after")
    await collector.receives("after")
    await bot_client.answer_callback(press)
    await pressing


# Reading, and files.


async def test_messages_are_read_by_number(
    bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    number = await bot_client.send_text(ANNA, "mine")
    found = await bot_client.read(ANNA, [1, number, 99])
    assert {n: each.text for n, each in found.items()} == {1: "/start", number: "mine"}
    assert found[number].sender.id == ME
    assert await bot_client.read(samples.USER.id, [1, number]) == {}


async def album(anna: Person, to: Any, files: int = 3) -> list[bytes]:
    contents = [bytes([number]) * (100 + number) for number in range(files)]
    await anna.client.send_file(
        to, [named(data, f"{n}.bin") for n, data in enumerate(contents)], force_document=True
    )
    return contents


async def test_a_file_sent_to_the_bot_is_downloaded(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    data = bytes(range(256)) * 9000
    await anna.send(BOT, named(data, "a.bin"), caption="look")
    (heard,) = await collector.receives("look")
    assert heard.link == f"tg://openmessage?user_id={ANNA}&message_id={heard.id}"
    accounts = await start(bot=True, user=True)
    (media,) = await accounts.resolve(parse(heard.link))
    assert (media.name, media.account, media.chat_id) == ("a.bin", "bot", ANNA)
    again = await accounts.find(media.source())
    sandbox.world.expire(sandbox.world.files[media.document_id])  # so that it is read once more on the way
    assert bytes((await fetch(accounts, again)).data) == data


async def test_an_album_sent_to_the_bot_is_read_completely(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    accounts = await start(bot=True)
    sizes = [len(data) for data in await album(anna, BOT)]
    await collector.until(lambda: len(collector.updates) == 3)
    first, second, _ = [each for each in collector.updates if isinstance(each, ChatMessage)]
    assert first.album == second.album != 0
    files = [each.file for each in await bot_client.album(second)]
    assert [file.size for file in files if file] == sizes
    assert [media.size for media in await accounts.resolve(parse(second.link))] == sizes
    assert [media.size for media in await accounts.resolve(parse(second.link + "&single"))] == [sizes[1]]


async def test_an_album_is_complete_among_messages_of_other_chats(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    """All private messages to a bot share one sequence of numbers."""
    accounts = await start(bot=True)
    side = sandbox.world.private_chats.side(sandbox.world.accounts[ANNA], sandbox.world.accounts[ME])
    other = sandbox.world.private_chats.side(
        sandbox.world.accounts[samples.USER.id], sandbox.world.accounts[ME]
    )
    await anna.send(BOT, named(b"x", "a.bin"))
    (heard,) = await collector.receives("")
    file = next(message.file for message in side.messages.values() if message.file)
    for number in range(4):
        sandbox.world.send(side, Said(id=0, file=file, album=77, sender=ANNA))
        for _ in range(8):
            sandbox.world.send(other, Said(id=0, text=f"{number}", sender=samples.USER.id))
    await collector.until(lambda: len(collector.updates) == 36)
    parts = [each for each in collector.updates if isinstance(each, ChatMessage) and each.album == 77]
    for part in parts:
        assert await bot_client.album(part) == parts
        assert len(await accounts.resolve(parse(part.link))) == 4
    assert await bot_client.album(heard) == [heard]


async def test_files_of_groups_are_downloaded(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    members = {ME, samples.USER.id, ANNA}
    sandbox.world.private_chats.add_group(Group(id=4001, title="Few", members=members))
    sandbox.world.add_chat(
        Chat(id=1600000010, title="G", username="g_many", broadcast=False, members=members)
    )
    accounts = await start(bot=True)
    for place in (tl.InputPeerChat(4001), "g_many"):
        await anna.send(place, named(b"data", "a.bin"), caption=f"@{BOT} this")
        (heard,) = await collector.receives(f"@{BOT} this")
        (media,) = await accounts.resolve(parse(heard.link))
        assert bytes((await fetch(accounts, await accounts.find(media.source()))).data) == b"data"


async def test_only_the_bot_can_read_its_private_chats(
    sandbox: Sandbox, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    await anna.send(BOT, named(b"data", "a.bin"), caption="look")
    (heard,) = await collector.receives("look")
    accounts = await start(user=True)
    with pytest.raises(Permanent, match="Only the bot can read"):
        await accounts.resolve(parse(heard.link))


async def test_a_link_to_a_private_chat_of_another_user_finds_nothing(
    sandbox: Sandbox, anna: Person, collector: UpdateCollector, start: Start
) -> None:
    """A user who guesses numbers sees only messages of the named user."""
    await anna.send(BOT, named(b"data", "a.bin"), caption="look")
    (heard,) = await collector.receives("look")
    accounts = await start(bot=True)
    with pytest.raises(Permanent, match="does not exist"):
        await accounts.resolve(parse(f"tg://openmessage?user_id={samples.USER.id}&message_id={heard.id}"))


# The login.


async def test_the_login_is_saved_but_not_as_an_account(
    sandbox: Sandbox, bot_client: BotClient, tmp_path: Path, start: Start
) -> None:
    again = BotClient(table(sandbox, bot=True), tmp_path)
    await again.open()
    await again.close()
    assert sandbox.counters.requests(method="auth.importBotAuthorization") == 1
    accounts = await start(bot=True)
    assert (accounts.ready, accounts.problems) == (["bot"], {})
    assert sandbox.counters.requests(method="auth.importBotAuthorization") == 2


async def test_without_a_token_the_client_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token"):
        await BotClient(table(sandbox), tmp_path).open()


async def test_a_client_that_is_not_open_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    bot_client = BotClient(table(sandbox, bot=True), tmp_path)
    with pytest.raises(Retryable):
        await bot_client.send_text(ANNA, "hi")
    await bot_client.close()


async def test_the_bot_logs_in_again_when_its_login_is_revoked(
    sandbox: Sandbox, bot_client: BotClient, anna: Person, collector: UpdateCollector
) -> None:
    sandbox.faults.add(f"revoke=AUTH_KEY_UNREGISTERED,account={ME},count=1,method=messages.sendMessage")
    with pytest.raises(Retryable):
        await bot_client.send_text(ANNA, "one")

    async def is_sent() -> bool:
        with suppress(Retryable):
            await bot_client.send_text(ANNA, "two", key="two")
            return True
        return False

    await until(is_sent, within=10)
    await anna.receives(contains("two"))
    await anna.send(BOT, "three")
    await collector.receives("three")
