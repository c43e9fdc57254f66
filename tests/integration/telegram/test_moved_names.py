"""A username can move to another chat: nothing is read from or sent to the old one."""

from __future__ import annotations

import asyncio

import pytest

from saveany.errors import Permanent
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.telegram.uploads import Uploader
from storages.message_sender import Document, DocumentPart, Target
from tests.integration.telegram.conftest import Start

OLD, NEW = 1600000011, 1600000012
OLD_FILE, NEW_FILE = 4001, 4002
USER = samples.USER.id


@pytest.fixture
def first_owner(sandbox: Sandbox) -> Chat:
    """The chat that has the username at first. It stays public, and the user stays a member."""
    return _chat(sandbox, OLD, OLD_FILE, "moving")


@pytest.fixture
async def user(start: Start) -> Accounts:
    started: Accounts = await start(user=True)
    return started


def _chat(sandbox: Sandbox, id_: int, file: int, username: str) -> Chat:
    world = sandbox.world
    chat = world.add_chat(
        Chat(id=id_, title=str(id_), username=username, members={USER}, admins={USER}, linked=id_ + 10)
    )
    group = world.add_chat(Chat(id=id_ + 10, title="group", broadcast=False, members={USER}, linked=id_))
    made = world.add_file(StoredFile(id=file, content=ContentStream(file, 1000 + file), name=f"{file}.bin"))
    world.post(chat, StoredMessage(id=5, file=made))
    world.post(group, StoredMessage(id=5, file=made))
    return chat


def move(sandbox: Sandbox, first_owner: Chat, name: str) -> Chat:
    """Assign the username to another chat; the old chat gets the username of that one."""
    first_owner.username = name
    return _chat(sandbox, NEW, NEW_FILE, "moving")


@pytest.mark.parametrize("name", ["", "elsewhere"])
@pytest.mark.parametrize(
    "link", ["https://t.me/moving/5", "https://t.me/Moving/4-6", "https://t.me/moving/5?comment=5"]
)
async def test_links_lead_to_the_current_owner_of_the_username(
    sandbox: Sandbox, user: Accounts, first_owner: Chat, link: str, name: str
) -> None:
    [before] = await user.resolve(parse(link))
    assert before.document_id == OLD_FILE
    move(sandbox, first_owner, name)
    [media] = await user.resolve(parse(link))
    assert media.document_id == NEW_FILE


@pytest.mark.parametrize("link", ["https://t.me/moving/5", "https://t.me/moving/5?comment=5"])
async def test_concurrent_links_all_lead_to_the_current_owner_of_the_username(
    sandbox: Sandbox, user: Accounts, first_owner: Chat, link: str
) -> None:
    """One of them finds out that the stored chat is outdated, while the others are under way."""
    await user.resolve(parse(link))
    move(sandbox, first_owner, "")
    sandbox.counters.clear()
    found = await asyncio.gather(*(user.resolve(parse(link)) for _ in range(20)))
    assert [[media.document_id for media in files] for files in found] == [[NEW_FILE]] * 20
    assert sandbox.counters.requests(method="contacts.resolveUsername") <= 2


async def test_a_link_with_an_unused_username_is_refused(
    sandbox: Sandbox, user: Accounts, first_owner: Chat
) -> None:
    await user.resolve(parse("https://t.me/moving/5"))
    first_owner.username = "elsewhere"
    with pytest.raises(Permanent, match="nobody has this username"):
        await user.resolve(parse("https://t.me/moving/5"))


async def test_a_watch_by_username_follows_its_current_owner(
    sandbox: Sandbox, user: Accounts, first_owner: Chat
) -> None:
    assert (await user.history.chat_state("@moving")).id == -(10**12) - OLD
    move(sandbox, first_owner, "elsewhere")
    assert (await user.history.chat_state("@moving")).id == -(10**12) - NEW


async def test_files_are_sent_to_the_current_owner_of_the_username(
    sandbox: Sandbox, user: Accounts, first_owner: Chat
) -> None:
    uploads, target = Uploader(user), Target("me", "@moving")

    async def send(number: int) -> None:
        await uploads.upload(target, DocumentPart(number, 0, 1, b"bytes", False))
        assert await uploads.send(target, [Document(number, number, 1, False, "a.bin", "", "")])

    await send(1)
    assert max(first_owner.messages) == 6
    new = move(sandbox, first_owner, "elsewhere")
    await send(2)
    assert (max(first_owner.messages), max(new.messages)) == (6, 6)


async def test_a_file_is_read_again_from_its_original_chat(
    sandbox: Sandbox, start: Start, user: Accounts, first_owner: Chat
) -> None:
    """Also by an account that knows only the former username of the chat."""
    [media] = await user.resolve(parse("https://t.me/moving/5"))
    new = move(sandbox, first_owner, "")
    new.username = ""
    third = _chat(sandbox, NEW + 1, 4003, "moving")
    bot = await start(bot=True)
    with pytest.raises(Permanent, match="not a member"):
        await bot.find(media.source())
    first_owner.members.add(samples.BOT.id)
    assert (await bot.find(media.source())).document_id == OLD_FILE
    first_owner.username, third.username = "moving", ""
    first_owner.members.discard(samples.BOT.id)
    assert (await bot.find(media.source())).document_id == OLD_FILE


async def test_an_unchanged_username_is_resolved_once(
    sandbox: Sandbox, user: Accounts, first_owner: Chat
) -> None:
    for _ in range(3):
        await user.resolve(parse("https://t.me/moving/5"))
    assert sandbox.counters.requests(method="contacts.resolveUsername") == 1
    assert not sandbox.counters.requests(method="channels.getChannels")
