"""Files and links sent to the bot are saved where the user wants them."""

from __future__ import annotations

from typing import Any

import pytest
from telethon.tl import types as tl

from saveany.sandbox import samples
from saveany.sandbox.world import Chat, SandboxAccount, StoredMessage
from tests.acceptance.bot.conftest import BOT, contains, has_button
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named, person

DATA = b"all of it" * 1000


async def test_a_file_is_saved_in_the_storage_of_the_pressed_button(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    assert "notes.txt" in card.text
    await anna.press(card, "local2")
    done = await anna.receives(contains("Saved"))
    assert done.id == card.id
    assert "local2:/notes.txt" in done.text
    assert (stack.folder / "more" / "notes.txt").read_bytes() == DATA


async def test_an_album_is_saved_in_its_own_folder(stack: Stack, anna: Person) -> None:
    messages = await anna.client.get_messages("channel", ids=[131, 132, 133, 134])
    await anna.forward(BOT, messages)
    card = await anna.receives(has_button("local1"))
    assert "4 files" in card.text
    await anna.press(card, "local1")
    folders = await anna.receives(has_button("Four views"))
    await anna.press(folders, "Four views")
    assert "4 of 4" in (await anna.receives(contains("Saved"))).text
    saved = [name for name in stack.files() if not name.startswith(".")]
    assert len(saved) == 4
    assert {name.partition("/")[0] for name in saved} == {"Four views of the harbour"}


def buttons(*urls: str) -> tl.ReplyInlineMarkup:
    row = [tl.KeyboardInlineButton("Get it", tl.InlineButtonTypeUrl(url)) for url in urls]
    return tl.ReplyInlineMarkup([tl.KeyboardInlineButtonRow(row)])


@pytest.mark.parametrize(
    ("number", "urls"),
    [
        (301, ["https://t.me/channel/123"]),
        (302, ["https://t.me/channel/124", "https://t.me/channel/123", "https://t.me/channel/124"]),
    ],
)
async def test_buttons_with_links_of_a_forwarded_post_are_saved(
    stack: Stack, anna: Person, number: int, urls: list[str]
) -> None:
    world = stack.sandbox.world
    world.post(world.chats[samples.CHANNEL], StoredMessage(id=number, text="New!", markup=buttons(*urls)))
    [message] = await anna.client.get_messages("channel", ids=[number])
    await anna.forward(BOT, message)
    await anna.press(await anna.receives(has_button("local1")), "local1")
    await anna.receives(contains("Saved"))
    saved = [name for name in stack.files() if not name.startswith(".")]
    assert sorted(saved) == ["file.pdf", "one-byte.bin"][: len(set(urls))]


async def test_a_file_is_saved_and_not_the_links_of_its_buttons(stack: Stack, anna: Person) -> None:
    world, markup = stack.sandbox.world, buttons("https://t.me/channel/123")
    world.post(world.chats[samples.CHANNEL], StoredMessage(id=303, file=world.files[1002], markup=markup))
    [message] = await anna.client.get_messages("channel", ids=[303])
    await anna.forward(BOT, message)
    await anna.press(await anna.receives(has_button("local1")), "local1")
    await anna.receives(contains("Saved"))
    assert [name for name in stack.files() if not name.startswith(".")] == ["one-byte.bin"]


async def test_one_text_may_contain_links_to_messages_and_files(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "this https://t.me/channel/123 and https://t.me/channel/124, not t.me/+abcdef")
    assert "invite link" in (await anna.receives(contains("abcdef"))).text
    card = await anna.receives(has_button("local1"))
    assert "2 files" in card.text
    await anna.press(card, "local1")
    await anna.receives(contains("2 of 2"))
    assert {"file.pdf", "one-byte.bin"} <= set(stack.files())


async def test_no_question_is_asked_in_silent_mode(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/storage local2:kept")
    await anna.receives(contains("local2:/kept"))
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"))
    await anna.send(BOT, named(DATA, "notes.txt"))
    assert "local2:/kept/notes.txt" in (await anna.receives(contains("Saved"))).text
    assert (stack.folder / "more/kept/notes.txt").read_bytes() == DATA


async def test_users_who_chose_to_be_asked_are_asked(stack: Stack, anna: Person) -> None:
    stack.storage_dir.mkdir(exist_ok=True)
    (stack.storage_dir / "notes.txt").write_bytes(b"older")
    await anna.send(BOT, "/config")
    await anna.press(await anna.receives(has_button("Name taken: ask me")), "Name taken: ask me")
    await anna.receives(contains("ask me"))
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.press(await anna.receives(has_button("local1")), "local1")
    await anna.press(await anna.receives(has_button("Replace it")), "Replace it")
    await anna.receives(contains("Saved"))
    assert (stack.storage_dir / "notes.txt").read_bytes() == DATA


async def test_save_as_a_reply_saves_that_message(stack: Stack, anna: Person) -> None:
    sent = await anna.send(BOT, named(DATA, "notes.txt"))
    first = await anna.receives(has_button("local1"))
    await anna.press(first, "Do not save")
    await anna.receives(contains("Not saved"))
    await anna.send(BOT, "/save better.txt", reply_to=sent.id)
    card = await anna.receives(lambda message: message.id > first.id and has_button("local1")(message))
    await anna.press(card, "local1")
    await anna.receives(contains("local1:/better.txt"))
    await anna.receives(contains("Saved"))
    assert (stack.storage_dir / "better.txt").read_bytes() == DATA


async def test_a_range_of_messages_is_saved_with_a_filter(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/save @channel 123-134 type=photo")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    assert "4 of 4" in (await anna.receives(contains("Saved"), 20)).text
    assert all(name.endswith(".jpg") for name in stack.files() if not name.startswith("."))


async def test_rules_and_name_templates_are_set_by_commands(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, r"/rule add name=\.txt$ -> local2:Texts/{{ ext }}")
    await anna.receives(contains("1."))
    await anna.send(BOT, "/rule test notes.txt")
    await anna.receives(contains("local2:/Texts"))
    await anna.send(BOT, "/fnametmpl {{ name|upper }}")
    await anna.receives(contains("HOLIDAY"))
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.press(await anna.receives(has_button("By my rules")), "By my rules")
    await anna.receives(contains("Saved"))
    (saved,) = (stack.folder / "more").rglob("*.txt")
    assert saved.name == "NOTES.txt"
    assert saved.parent.parent.name == "Texts"


async def test_a_file_is_transferred_to_another_storage(stack: Stack, anna: Person) -> None:
    stack.storage_dir.mkdir(exist_ok=True)
    (stack.storage_dir / "films").mkdir()
    (stack.storage_dir / "films" / "a.mkv").write_bytes(DATA)
    (stack.storage_dir / "films" / "b.txt").write_bytes(DATA)
    await anna.send(BOT, "/transfer local1:films *.mkv")
    await anna.press(await anna.receives(has_button("local2")), "local2")
    await anna.receives(contains("Saved"))
    assert [path.name for path in (stack.folder / "more").rglob("*.*") if path.suffix != ".id"][:1]
    assert [path.name for path in (stack.folder / "more").rglob("*.mkv")] == ["a.mkv"]


async def test_in_a_group_the_bot_replies_when_mentioned(stack: Stack, anna: Person) -> None:
    members = {samples.BOT.id, samples.PERSON.id, samples.USER.id}
    stack.sandbox.world.add_chat(
        Chat(id=16, title="G", username="thegroup", broadcast=False, members=members)
    )
    await anna.send("thegroup", "not for the bot: https://t.me/channel/124")
    await anna.send("thegroup", "@sandbox_bot https://t.me/channel/123")
    card = await anna.receives(has_button("local1"))
    assert "124" not in card.text
    await anna.press(card, "local1")
    await anna.receives(contains("Saved"))
    assert "file.pdf" in stack.files()


async def test_an_unknown_user_is_told_their_id_once(stack: Stack) -> None:
    stranger = stack.sandbox.world.add_account(
        SandboxAccount(id=345678901, name="Stranger", phone="+9996625555")
    )
    async with person(stack.sandbox, stranger.id) as one:
        await one.send(BOT, "hello")
        received: Any = await one.receives(contains("[[users]]"))
        assert str(stranger.id) in received.text
        await one.send(BOT, named(DATA, "notes.txt"))
        await one.send(BOT, "/help")
        assert [message.id for message in one.received] == [received.id]
    assert not (await stack.client.get("/api/v1/tasks", params={"user_id": stranger.id})).json()["tasks"]


async def test_a_file_of_a_storage_is_sent_to_the_user(stack: Stack, anna: Person) -> None:
    stack.storage_dir.mkdir(exist_ok=True)
    (stack.storage_dir / "a folder").mkdir()
    (stack.storage_dir / "a folder" / "a b.txt").write_bytes(DATA)
    await anna.send(BOT, '/send local1:"a folder" *.txt')
    came = await anna.receives(lambda message: message.file is not None)
    assert came.file.name == "a b.txt"
    assert await anna.client.download_media(came, bytes) == DATA
    saved = await anna.receives(contains("Saved"))
    assert "this chat" in saved.raw_text
    assert not [each.raw_text for each in anna.received if "talks" in each.raw_text]


async def test_the_file_of_a_link_is_sent_to_the_user(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "https://t.me/channel/123")
    await anna.press(await anna.receives(has_button("Send it to me")), "Send it to me")
    came = await anna.receives(lambda message: message.file is not None)
    assert came.file.name == "file.pdf"
