"""Uploads and messages of clients, made by Telethon's own upload code."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.samples import FORUM
from saveany.sandbox.world import Chat
from tests.sandbox.clients import bot, named, user

MIB = 1 << 20
SMALL, BIG = random.Random(1).randbytes(300_001), random.Random(2).randbytes(11 * MIB + 7)


@pytest.fixture(autouse=True)
def inbox(sandbox: Sandbox) -> Chat:
    """A channel in which both may write."""
    members = {samples.BOT.id, samples.USER.id}
    return sandbox.world.add_chat(Chat(id=1600000005, title="In", username="inbox", members=members))


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Any]:
    async with user(sandbox, raise_last_call_error=True, request_retries=1) as client:
        yield client


@pytest.mark.parametrize("data", [b"x", SMALL, BIG], ids=["byte", "small", "big"])
@pytest.mark.parametrize("which", [bot, user])
async def test_an_uploaded_file_is_downloaded_unchanged(sandbox: Sandbox, which: Any, data: bytes) -> None:
    async with which(sandbox) as client:
        chat = await client.get_input_entity("inbox")
        sent = await client.send_file(chat, named(data, "my file.bin"), caption="words", force_document=True)
        (read,) = await client.get_messages(chat, ids=[sent.id])
        assert (read.file.name, read.file.size, read.message) == ("my file.bin", len(data), "words")
        assert await client.download_media(read, bytes) == data


async def test_files_can_be_sent_to_saved_messages(client: Any) -> None:
    sent = await client.send_file("me", named(SMALL, "a.bin"), force_document=True)
    (read,) = await client.get_messages("me", ids=[sent.id])
    assert await client.download_media(read, bytes) == SMALL
    await client.delete_messages("me", [sent.id])
    assert await client.get_messages("me", ids=[sent.id]) == [None]


async def test_files_can_be_sent_as_an_album(sandbox: Sandbox, client: Any) -> None:
    chat = await client.get_input_entity("inbox")
    files = [named(SMALL + bytes([n]), f"{n}.bin") for n in range(4)]
    sent = await client.send_file(chat, files, caption=["one", "", "", "four"], force_document=True)
    assert len({message.grouped_id for message in sent}) == 1
    read = await client.get_messages(chat, ids=[message.id for message in sent])
    assert [message.message for message in read] == ["one", "", "", "four"]
    assert [message.file.name for message in read] == [f"{n}.bin" for n in range(4)]


async def test_files_can_be_sent_to_a_topic(client: Any) -> None:
    forum = await client.get_input_entity("sandboxforum")
    sent = await client.send_file(forum, named(SMALL, "a.bin"), reply_to=10, force_document=True)
    (read,) = await client.get_messages(forum, ids=[sent.id])
    assert (read.reply_to.reply_to_msg_id, read.reply_to.forum_topic) == (10, True)


async def test_a_repeated_random_id_sends_nothing_twice(inbox: Chat, client: Any) -> None:
    chat = await client.get_input_entity("inbox")
    before = len(inbox.messages)
    for _ in range(2):
        await client(fn.upload.SaveFilePartRequest(7, 0, b"data"))
        media = tl.InputMediaUploadedDocument(tl.InputFile(7, 1, "a.bin", ""), "text/plain", [])
        request = fn.messages.SendMediaRequest(chat, media, "", random_id=42)
        try:
            await client(request)
        except tg.RandomIdDuplicateError:
            break
    else:
        pytest.fail("it was sent twice")
    assert len(inbox.messages) == before + 1


@pytest.mark.parametrize(
    ("parts", "file", "error"),
    [
        ({0: b"x" * 1024, 2: b"y"}, tl.InputFile(7, 3, "a", ""), tg.FilePartMissingError),
        ({0: b"x" * 1024, 1: b"y" * 2048}, tl.InputFile(7, 2, "a", ""), tg.RPCError),
        ({0: b"x"}, tl.InputFile(7, 1, "a", "0" * 32), tg.Md5ChecksumInvalidError),
        ({0: b"x"}, tl.InputFile(8, 1, "a", ""), tg.FilePart0MissingError),
    ],
)
async def test_incomplete_uploads_are_refused(
    client: Any, parts: dict[int, bytes], file: Any, error: type[Exception]
) -> None:
    chat = await client.get_input_entity("inbox")
    for number, data in parts.items():
        await client(fn.upload.SaveFilePartRequest(7, number, data))
    media = tl.InputMediaUploadedDocument(file, "text/plain", [])
    with pytest.raises(error):
        await client(fn.messages.SendMediaRequest(chat, media, "", random_id=1))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (fn.upload.SaveFilePartRequest(1, 0, b""), "FilePartEmpty"),
        (fn.upload.SaveFilePartRequest(1, 0, b"x" * (513 << 10)), "FilePartTooBig"),
        (fn.upload.SaveFilePartRequest(1, 4000, b"x"), "FilePartInvalid"),
        (fn.upload.SaveBigFilePartRequest(1, 3, 3, b"x"), "FilePartInvalid"),
        (fn.upload.SaveBigFilePartRequest(1, 0, 2, b"x" * 1000), "FilePartSizeInvalid"),
        (fn.upload.SaveBigFilePartRequest(1, 0, 9999, b"x"), "FileParts"),
    ],
)
async def test_invalid_parts_are_refused(client: Any, request_: Any, error: str) -> None:
    with pytest.raises(tg.RPCError) as caught:
        await client(request_)
    assert error in type(caught.value).__name__


async def test_only_members_can_send(sandbox: Sandbox, client: Any) -> None:
    sandbox.world.chats[FORUM].members.discard(123456789)
    with pytest.raises(tg.ChatWriteForbiddenError):
        await client.send_message("sandboxforum", "hello")


async def test_texts_can_be_sent(inbox: Chat, client: Any) -> None:
    sent = await client.send_message("inbox", "hello")
    assert inbox.messages[sent.id].text == "hello"


async def test_premium_accounts_have_twice_the_size_limit(sandbox: Sandbox, client: Any) -> None:
    late = fn.upload.SaveBigFilePartRequest(1, 4000, 4001, b"x")
    with pytest.raises(tg.RPCError):
        await client(late)
    sandbox.world.accounts[samples.USER.id].premium = True
    assert await client(late)
    with pytest.raises(tg.RPCError):
        await client(fn.upload.SaveBigFilePartRequest(1, 8000, -1, b"x"))


async def test_parts_may_arrive_twice_and_in_any_order(client: Any) -> None:
    kib = 1024
    for number, data in ((2, b"c"), (0, b"?" * kib), (1, b"b" * kib), (0, b"a" * kib)):
        total = 3 if number == 2 else -1  # an odd length is for the last one only
        await client(fn.upload.SaveBigFilePartRequest(7, number, total, data))
    media = tl.InputMediaUploadedDocument(tl.InputFileBig(7, 3, "a.bin"), "text/plain", [])
    sent = await client.send_file("me", media)
    assert await client.download_media(sent, bytes) == b"a" * kib + b"b" * kib + b"c"
    with pytest.raises(tg.FilePart0MissingError):  # they are used up
        await client.send_file("me", media)
