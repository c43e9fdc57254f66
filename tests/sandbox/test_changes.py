"""Editing, deleting and forwarding with the rules of Telegram, and entities in texts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon import Button
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples, texts
from saveany.sandbox.privacy import entity_text
from saveany.sandbox.world import Chat, StoredMessage
from tests.sandbox.clients import Person, bot, named, person, user


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Any]:
    async with user(sandbox, raise_last_call_error=True, request_retries=1) as client:
        yield client


@pytest.fixture
def group(sandbox: Sandbox) -> Chat:
    members = {samples.BOT.id, samples.USER.id, samples.PERSON.id}
    return sandbox.world.add_chat(
        Chat(id=1600000010, title="Group", username="thegroup", broadcast=False, members=members)
    )


async def test_an_edit_must_change_something(client: Any) -> None:
    sent = await client.send_message("me", "one")
    for same in ("one", " one \n"):
        with pytest.raises(tg.MessageNotModifiedError):
            await client.edit_message(sent, same)
    await client.edit_message(sent, "**one**")  # bold is a change
    with pytest.raises(tg.MessageNotModifiedError):
        await client.edit_message(sent, "**one**")


async def test_a_keyboard_is_part_of_a_message(sandbox: Sandbox) -> None:
    async with person(sandbox) as anna, bot(sandbox) as client:
        await anna.send("sandbox_bot", "hello")
        rows = [Button.inline("a", b"a")]
        sent = await client.send_message(samples.PERSON.id, "text", buttons=rows)
        with pytest.raises(tg.MessageNotModifiedError):
            await client.edit_message(sent, "text", buttons=rows)
        await client.edit_message(sent, "text", buttons=[Button.inline("b", b"a")])
        await client.edit_message(sent, "text")
        shown = await anna.receives(lambda message: message.edit_date and not message.buttons)
        assert shown.text == "text"


@pytest.mark.parametrize(
    ("text", "error"),
    [("", tg.MessageEmptyError), ("   ", tg.MessageEmptyError), ("x" * 4097, tg.MessageTooLongError)],
)
async def test_texts_over_telegrams_limits_are_refused(
    client: Any, text: str, error: type[Exception]
) -> None:
    sent = await client.send_message("me", "x" * 4096)
    with pytest.raises(error):
        await client(fn.messages.EditMessageRequest("me", sent.id, message=text))
    with pytest.raises(error):
        await client(fn.messages.SendMessageRequest("me", text, random_id=7))


async def test_captions_have_a_lower_limit_than_texts(client: Any) -> None:
    with pytest.raises(tg.MediaCaptionTooLongError):
        await client.send_file("me", named(b"x", "a"), caption="x" * 1025)
    sent = await client.send_file("me", named(b"x", "a"), caption="x" * 1024)
    await client.edit_message(sent, "")
    with pytest.raises(tg.MediaCaptionTooLongError):
        await client.edit_message(sent, "x" * 1025)
    await client.edit_message("me", sent.id, file=named(b"other", "b.bin"))
    (read,) = await client.get_messages("me", ids=[sent.id])
    assert await client.download_media(read, bytes) == b"other"


async def test_only_authors_edit_and_delete(sandbox: Sandbox, group: Chat, client: Any) -> None:
    theirs = sandbox.world.send(group, StoredMessage(id=0, text="mine", sender=samples.PERSON.id))
    with pytest.raises(tg.MessageAuthorRequiredError):
        await client.edit_message("thegroup", theirs.id, "ours")
    with pytest.raises(tg.MessageDeleteForbiddenError):
        await client.delete_messages("thegroup", [theirs.id])
    with pytest.raises(tg.MessageIdInvalidError):
        await client.edit_message("thegroup", 999, "ours")
    group.admins = {samples.USER.id}
    await client.delete_messages("thegroup", [theirs.id])
    assert theirs.id not in group.messages


async def test_only_admins_post(sandbox: Sandbox, client: Any) -> None:
    members = {samples.USER.id, samples.PERSON.id}
    sandbox.world.add_chat(
        Chat(id=16, title="C", username="readonly", members=members, admins={samples.PERSON.id})
    )
    with pytest.raises(tg.ChatAdminRequiredError):
        await client.send_message("readonly", "hello")


async def test_deleting_for_oneself_keeps_the_message_for_others(sandbox: Sandbox) -> None:
    async with person(sandbox) as anna, user(sandbox) as other:
        sent = await anna.send("sandbox_user", "hello")
        await anna.client.delete_messages("sandbox_user", [sent.id], revoke=False)
        assert await anna.client.get_messages("sandbox_user") == []
        assert [message.text for message in await other.get_messages("sandbox_person")] == ["hello"]
        (theirs,) = await other.get_messages("sandbox_person")
        assert (await theirs.reply("?")).reply_to_msg_id == theirs.id
        (answer,) = await anna.client.get_messages("sandbox_user")
        assert (answer.text, answer.reply_to) == ("?", None)  # what it answers is gone here


async def test_an_album_is_forwarded_as_one(sandbox: Sandbox) -> None:
    async with person(sandbox) as anna, bot(sandbox, receive_updates=True) as client:
        robot = Person(client)
        album = await anna.client.get_messages("channel", ids=[131, 132, 133, 134])
        sent = await anna.forward("sandbox_bot", album)
        assert len({message.grouped_id for message in sent} | {album[0].grouped_id}) == 2
        await robot.receives(lambda message: message.id == 4)
        assert [message.fwd_from.channel_post for message in robot.received] == [131, 132, 133, 134]
        assert {message.fwd_from.from_id.channel_id for message in robot.received} == {samples.CHANNEL}
        data = await client.download_media(robot.received[3], bytes)
        assert data == sandbox.world.files[1012].content.read(0, 1 << 20)


async def test_forwards_name_their_authors(sandbox: Sandbox, client: Any) -> None:
    async with person(sandbox) as anna:
        first = await anna.send("sandbox_user", "from anna")
        assert first.fwd_from is None
    (got,) = await client.get_messages("sandbox_person")
    saved = await got.forward_to("me")
    again = await saved.forward_to("me")
    assert {each.fwd_from.from_id.user_id for each in (saved, again)} == {samples.PERSON.id}
    post = await client.forward_messages("me", 144, "channel")
    assert (post.fwd_from.saved_from_msg_id, post.text) == (144, "Nothing but words here.")
    bare = await client.forward_messages("me", 144, "channel", drop_author=True)
    assert bare.fwd_from is None
    with pytest.raises(tg.MessageAuthorRequiredError):
        await client.edit_message(saved, "not mine")


async def test_protected_and_missing_messages_cannot_be_forwarded(client: Any) -> None:
    with pytest.raises(tg.ChatForwardsRestrictedError):
        await client.forward_messages("me", 5, "protected")
    with pytest.raises(tg.MessageIdInvalidError):
        await client.forward_messages("me", 199, "channel")
    source, target = await client.get_input_entity("channel"), tl.InputPeerSelf()
    for ids, numbers, error in (
        ([], [], tg.MessageIdsEmptyError),
        ([144], [], tg.RandomIdInvalidError),
        ([144, 123], [5, 5], tg.RandomIdDuplicateError),
    ):
        with pytest.raises(error):
            await client(fn.messages.ForwardMessagesRequest(source, ids, target, random_id=numbers))


async def test_albums_do_not_mix_kinds_of_media(client: Any) -> None:
    post = await client.get_messages("channel", ids=[123, 130])
    media = [
        tl.InputSingleMedia(kind, "", random_id=number)
        for number, kind in enumerate(message_media(message) for message in post)
    ]
    with pytest.raises(tg.MediaGroupedInvalidError):
        await client(fn.messages.SendMultiMediaRequest("me", media))


def message_media(message: Any) -> Any:
    from telethon import utils

    return utils.get_input_media(message.media)


async def test_a_user_searches_documents(client: Any) -> None:
    await client.send_message("me", "see https://t.me/channel/123")
    await client.send_file("me", named(b"x", "a.bin"), force_document=True)
    for kind, count in (
        (tl.InputMessagesFilterDocument(), 1),
        (tl.InputMessagesFilterUrl(), 1),
        (tl.InputMessagesFilterVideo(), 0),
    ):
        assert len(await client.get_messages("me", filter=kind, limit=10)) == count
    videos = await client.get_messages("channel", filter=tl.InputMessagesFilterVideo(), limit=10)
    assert sorted(message.id for message in videos) == [134, 142]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://t.me/channel/123, then", ["Url https://t.me/channel/123"]),
        ("😀 /save@sandbox_bot now", ["BotCommand /save@sandbox_bot"]),
        ("t.me/a/1 and @some_body #tag", ["Url t.me/a/1", "Mention @some_body", "Hashtag #tag"]),
        ("path/to/file a@b.example 1/2", []),
        ("https://example.org/@name/#part", ["Url https://example.org/@name/#part"]),
    ],
)
def test_entities_are_found_in_texts(text: str, found: list[str]) -> None:
    _, entities = texts.received(text, None)
    named = [f"{type(e).__name__.removeprefix('MessageEntity')} {entity_text(text, e)}" for e in entities]
    assert named == found


@given(st.text(), st.integers(0, 50), st.integers(0, 50))
def test_entities_stay_inside_the_text(text: str, offset: int, length: int) -> None:
    bold = tl.MessageEntityBold(offset, length)
    trimmed, entities = texts.received(text, [bold])
    units = len(trimmed.encode("utf-16-le", "surrogatepass")) // 2
    assert all(0 <= e.offset < e.offset + e.length <= units for e in entities)


def test_entities_of_the_sender_are_kept() -> None:
    link = tl.MessageEntityTextUrl(2, 4, "https://example.org")
    trimmed, entities = texts.received("  here @somebody ", [link])
    assert (trimmed, entity_text(trimmed, entities[0]), entities[0].url) == (
        "here @somebody",
        "here",
        "https://example.org",
    )
    assert isinstance(entities[1], tl.MessageEntityMention)
