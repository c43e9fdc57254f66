"""A wrong stored access hash, as from a backup of Redis, is dropped and requested again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.errors import Permanent
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, Group, StoredFile, StoredMessage, Wrapping
from saveany.telegram import qr
from saveany.telegram.accounts import Accounts
from saveany.telegram.bot_client import BotClient, Position
from saveany.telegram.client import refused_peer
from saveany.telegram.links import parse
from saveany.telegram.uploads import Uploader
from storages.message_sender import Document, DocumentPart, Target
from tests.integration.telegram.conftest import Start, fetch, store_of, table
from tests.integration.telegram.update_collector import UpdateCollector

PREFIX = "sa:telegram:"

CHAT, FILE, GROUP, FEW = 1600000021, 4101, 1600000022, 4102
MARKED = -(10**12) - CHAT
USER, BOT, ANNA = samples.USER.id, samples.BOT.id, samples.PERSON.id
TARGET = Target("", str(MARKED))
#: What finds the file of message 5 again.
SOURCE = {"chat": MARKED, "message": 5, "document": FILE, "kind": "document"}


@pytest.fixture
def chat(sandbox: Sandbox) -> Chat:
    world = sandbox.world
    group = Chat(id=GROUP, title="BotClient", broadcast=False, members={USER, BOT, ANNA}, linked=CHAT)
    world.add_chat(group)
    chat = Chat(id=CHAT, title="Open", username="opened", members={USER, BOT}, linked=GROUP)
    world.add_chat(chat)
    file = world.add_file(StoredFile(id=FILE, content=ContentStream(FILE, 5000), name="a.bin"))
    for each in (chat, group):
        world.post(each, StoredMessage(id=5, file=file))
    return chat


@pytest.fixture
async def wrong_hashes(redis: Redis, chat: Chat) -> None:
    """Gives both accounts wrong hashes of all chats and users they may know."""
    for account in (USER, BOT):
        met = (MARKED, -(10**12) - GROUP, -(10**12) - samples.CHANNEL, USER, ANNA)
        await redis.hset(f"{PREFIX}{account}:peers", mapping={str(each): 4711 for each in met})  # type: ignore[misc]
        await redis.set(f"{PREFIX}{account}:name:opened", MARKED)


async def _found(accounts: Accounts, link: str) -> None:
    [media] = await accounts.resolve(parse(link))
    assert media.document_id == FILE


async def _send(accounts: Accounts) -> None:
    uploads = Uploader(accounts)
    await uploads.upload(TARGET, DocumentPart(1, 0, 1, b"bytes", False))
    ids = await uploads.send(TARGET, [Document(1, 1, 1, False, "a.bin", "", "")])
    assert ids is not None


async def _find(accounts: Accounts) -> None:
    assert (await accounts.find(SOURCE)).message_id == 5


Way = Callable[[Accounts], Awaitable[Any]]
WAYS: dict[str, Way] = {
    "link by id": lambda accounts: _found(accounts, f"https://t.me/c/{CHAT}/5"),
    "link by name": lambda accounts: _found(accounts, "https://t.me/opened/5"),
    "range": lambda accounts: _found(accounts, f"https://t.me/c/{CHAT}/4-6"),
    "comment": lambda accounts: _found(accounts, "https://t.me/opened/5?comment=5"),
    "found again": _find,
    "sent to": _send,
    "deleted": lambda accounts: Uploader(accounts).delete(accounts.ready[0], SOURCE),
    "checked": lambda accounts: Uploader(accounts).check(TARGET),
}
OF_USERS: dict[str, Way] = {
    "looked at": lambda accounts: accounts.history.chat_state(str(MARKED)),
    "looked at by name": lambda accounts: accounts.history.chat_state("@opened"),
    "watched": lambda accounts: accounts.history.messages_after(MARKED, 1),
}


@pytest.mark.usefixtures("wrong_hashes")
@pytest.mark.parametrize("way", [*WAYS, *OF_USERS])
async def test_a_user_account_requests_the_hash_again(start: Start, way: str, redis: Redis) -> None:
    accounts = await start(user=True)
    await (WAYS | OF_USERS)[way](accounts)
    await accounts.client("me").session.flush()
    again = await start(user=True)  # and it is kept
    await (WAYS | OF_USERS)[way](again)
    assert await redis.hget(f"{PREFIX}{USER}:peers", str(MARKED)) not in (None, b"4711")  # type: ignore[misc]


@pytest.mark.usefixtures("wrong_hashes")
@pytest.mark.parametrize("way", WAYS)
async def test_a_bot_requests_the_hash_again(start: Start, way: str) -> None:
    await WAYS[way](await start(bot=True))


@pytest.mark.usefixtures("chat")
@pytest.mark.parametrize("way", WAYS)
async def test_an_invalid_stored_hash_is_ignored(start: Start, redis: Redis, way: str) -> None:
    for account in (USER, BOT):
        await redis.hset(f"{PREFIX}{account}:peers", str(MARKED), "broken")  # type: ignore[misc]
        await redis.set(f"{PREFIX}{account}:name:opened", "broken")
    await WAYS[way](await start(user=True))


@pytest.mark.usefixtures("wrong_hashes")
async def test_a_hash_that_cannot_be_renewed_is_reported(sandbox: Sandbox, start: Start, chat: Chat) -> None:
    chat.members.clear()
    chat.username = ""
    accounts = await start(user=True, bot=True)
    with pytest.raises(Permanent, match="not a member"):
        await accounts.resolve(parse(f"https://t.me/c/{CHAT}/5"))
    assert sandbox.counters.requests(method="channels.getMessages") <= 4


@pytest.mark.usefixtures("wrong_hashes")
async def test_a_story_is_read_despite_a_wrong_hash(sandbox: Sandbox, start: Start, chat: Chat) -> None:
    world = sandbox.world
    world.stories[ANNA, 9] = world.files[FILE]
    world.post(chat, StoredMessage(id=6, wrapped=Wrapping(how="story", files=(), story=(ANNA, 9))))
    [media] = await (await start(user=True)).resolve(parse(f"https://t.me/c/{CHAT}/6"))
    assert media.document_id == FILE


@pytest.mark.usefixtures("wrong_hashes")
@pytest.mark.parametrize("where", [ANNA, -(10**12) - GROUP, -FEW])
async def test_the_bot_sends_messages_despite_a_wrong_hash(
    sandbox: Sandbox, tmp_path: Path, redis: Redis, where: int
) -> None:
    world = sandbox.world
    world.private_chats.add_group(Group(id=FEW, title="Few", members={BOT, ANNA}))
    side = world.private_chats.side(world.accounts[ANNA], world.accounts[BOT])
    world.send(side, StoredMessage(id=0, text="hello", sender=ANNA))
    talk = BotClient(table(sandbox, bot=True), tmp_path, store_of(redis))
    await talk.open()
    number = await talk.send_text(where, "hi")
    await talk.edit(where, number, "ho")
    assert await talk.send_picture(where, qr.png("look"), "look")
    await talk.delete(where, [number])
    await talk.close()


async def test_the_bot_receives_missed_group_messages_despite_a_wrong_hash(
    sandbox: Sandbox, tmp_path: Path, redis: Redis, wrong_hashes: None
) -> None:
    group = sandbox.world.chats[GROUP]
    state = Position(pts=1, qts=0, date=2**31 - 1, channels={GROUP: group.box.pts})
    sandbox.world.accounts[BOT].reads_groups = True
    sandbox.world.send(group, StoredMessage(id=0, text="meanwhile", sender=ANNA))
    talk = BotClient(table(sandbox, bot=True), tmp_path, store_of(redis))
    await talk.open()
    async with UpdateCollector(talk, state) as collector:
        await collector.receives("meanwhile")
    await talk.close()


async def test_a_file_with_a_wrong_hash_is_read_by_its_message_again(start: Start, chat: Chat) -> None:
    accounts = await start(user=True)
    [media] = await accounts.resolve(parse(f"https://t.me/c/{CHAT}/5"))
    spoiled = replace(media, location=replace(media.location, access_hash=4711))
    await fetch(accounts, spoiled)


async def test_only_the_refused_hash_is_dropped(start: Start, chat: Chat) -> None:
    accounts = await start(user=True)
    await accounts.resolve(parse("https://t.me/opened/5"))
    session = accounts.client("me").session
    right = await session.access_hash(MARKED)
    await session.forget_hash(MARKED, 4711)
    assert await session.access_hash(MARKED) == right


_CHANNEL, _USER = tl.InputChannel(1, 5), tl.InputPeerUser(2, 6)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (fn.channels.GetMessagesRequest(_CHANNEL, [tl.InputMessageID(1)]), _CHANNEL),
        (fn.InvokeWithoutUpdatesRequest(fn.messages.SendMessageRequest(_USER, "x")), _USER),
        (fn.messages.GetPeerDialogsRequest([tl.InputDialogPeer(_USER)]), _USER),
        (fn.messages.GetPeerDialogsRequest([tl.InputDialogPeer(_USER)] * 2), None),
        (fn.channels.GetChannelsRequest([_CHANNEL]), _CHANNEL),
        (fn.photos.GetUserPhotosRequest(_USER, 0, 0, 1), _USER),
        (fn.channels.GetChannelsRequest([tl.InputChannel(1, 0)]), None),
        (fn.messages.SendMessageRequest(tl.InputPeerSelf(), "x"), None),
        (fn.stories.GetStoriesByIDRequest(tl.InputPeerUserFromMessage(_USER, 1, 3), [1]), None),
    ],
)
def test_the_refused_hash_is_identified(request_: Any, named: Any) -> None:
    assert refused_peer(tg.PeerIdInvalidError(request_)) is named
    outer = Permanent("no")
    outer.__cause__ = tg.ChannelInvalidError(request_)
    assert refused_peer(outer) is named
    assert refused_peer(tg.ChannelPrivateError(request_)) is None
