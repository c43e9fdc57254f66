"""The samples of the sandbox: each link leads to exactly the files it names."""

import hashlib
import re
from typing import Any

import pytest
from telethon.tl import functions as fn

from saveany.sandbox import SampleFile, Sandbox, samples
from saveany.sandbox.content import MIB, sha256
from tests.sandbox.clients import bot, user

SMALL = 16 * MIB
Facts = tuple[str | None, int, str]  # Telegram's name, size, hash
LINK = re.compile(r"https://t\.me/(?:c/(?P<id>\d+)|(?P<name>\w+))(?:/(?P<topic>\d+))?/(?P<message>\d+)")


async def media(client: Any, link: str) -> list[Any]:
    """The messages with media that a link leads to, the way an application would find them."""
    found = LINK.match(link)
    assert found is not None
    chat = int(f"-100{found['id']}") if found["id"] else found["name"]
    number = int(found["message"])
    if comment := re.search(r"comment=(\d+)", link):
        full = await client(fn.channels.GetFullChannelRequest(chat))
        chat, number = int(f"-100{full.full_chat.linked_chat_id}"), int(comment[1])
    message = await client.get_messages(chat, ids=number)
    if message is None or message.media is None:
        return []
    if message.grouped_id is None:
        return [message]
    near = await client.get_messages(chat, ids=list(range(number - 9, number + 10)))
    return [one for one in near if one and one.grouped_id == message.grouped_id]


async def served(client: Any, message: Any) -> Facts:
    """The bytes that a client downloads; hashes of large files are constants, checked by other tests."""
    name, size = message.file.name, message.file.size
    if size > SMALL:
        return name, size, samples.SHA256[message.document.id]
    data = await client.download_media(message, bytes)
    return name, len(data), hashlib.sha256(data).hexdigest()


def facts(file: SampleFile) -> Facts:
    return file.telegram_name, file.size, file.sha256


@pytest.mark.parametrize("account", [bot, user])
async def test_samples_match_their_descriptions(account: Any, sandbox: Sandbox) -> None:
    async with account(sandbox) as client:
        if account is user:
            await client.get_dialogs()  # from them a user has the access hashes of its private chats
        for sample in sandbox.samples:
            files = [await served(client, message) for message in await media(client, sample.link)]
            assert (sample.link, files) == (sample.link, [facts(file) for file in sample.files])


@pytest.mark.parametrize("file", samples._files(2, 4), ids=lambda file: str(file.id))
def test_hash_constants_are_correct(file: Any) -> None:
    assert sha256(file.content) == samples.SHA256[file.id]


def test_every_sample_has_its_own_link_and_raw_name() -> None:
    links = [link for link, _, _ in samples._LINKS]
    assert len(set(links)) == len(links)
    assert len(samples._LONG_NAME) == 300
    assert samples.SHA256[1005] == samples.SHA256[1006]


async def test_messages_of_an_album_are_neighbours_with_one_caption(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        messages = await client.get_messages("channel", ids=[130, 131, 132, 133, 134, 135])
        groups = [m.grouped_id for m in messages]
        assert groups[0] is groups[5] is None
        assert len({*groups[1:5]}) == 1
        assert [m.message for m in messages[1:5]] == ["Four views of the harbour", "", "", ""]


async def test_topic_messages_name_their_topic(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        topic, other, first, answer = await client.get_messages("sandboxforum", ids=[10, 11, 12, 13])
        assert topic.action.title == "Files"
        assert other.reply_to is None
        assert (first.reply_to.forum_topic, first.reply_to.reply_to_msg_id) == (True, 10)
        assert (answer.reply_to.reply_to_msg_id, answer.reply_to.reply_to_top_id) == (12, 10)
        assert (await client.get_entity("sandboxforum")).forum


async def test_comments_are_in_the_discussion_group(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        post = await client.get_messages("channel", ids=123)
        assert (post.replies.replies, post.replies.channel_id) == (2, samples.DISCUSSION)
        assert [m.id async for m in client.iter_messages("channel", reply_to=123)] == [4, 3]
        found = await client(fn.messages.GetDiscussionMessageRequest("channel", 123))
        root = found.messages[0]
        assert (root.peer_id.channel_id, root.id, found.max_id) == (samples.DISCUSSION, 2, 4)
        assert root.fwd_from.channel_post == 123


async def test_protected_messages_are_marked_and_their_bytes_served(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        assert (await client.get_entity("protected")).noforwards
        assert not (await client.get_entity("channel")).noforwards
        message = await client.get_messages("protected", ids=5)
        assert len(await client.download_media(message, bytes)) == message.file.size


async def test_photo_sizes_differ_and_the_largest_is_the_sample(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=130)
        small = await client.download_media(message, bytes, thumb=0)
        large = await client.download_media(message, bytes)
        assert len(small) < len(large)
        assert small[:3] == large[:3] == b"\xff\xd8\xff"


async def test_media_without_names_have_the_expected_kinds(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        voice, video, sticker = await client.get_messages("channel", ids=[141, 142, 143])
        assert voice.voice
        assert (video.video.mime_type, video.file.width, video.file.duration) == ("video/mp4", 1280, 12.5)
        assert sticker.sticker


async def test_dates_are_constant(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=130)
        assert message.date.isoformat() == "2024-01-02T05:14:05+00:00"
        assert message.edit_date is None
