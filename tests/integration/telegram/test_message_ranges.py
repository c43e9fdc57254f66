"""A link to many messages: all their files, in order."""

from __future__ import annotations

import pytest

from saveany.errors import NeedsLogin, Permanent
from saveany.sandbox import Sandbox
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.samples import PRIVATE
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram.links import parse
from saveany.telegram.media import Media
from tests.integration.telegram.conftest import Start


async def found(start: Start, link: str, which: str = "bot") -> list[Media]:
    accounts = await start(**{which: True})
    media: list[Media] = await accounts.resolve(parse(link))
    return media


@pytest.mark.parametrize("which", ["bot", "user"])
async def test_all_files_are_found_in_order_among_other_messages(
    sandbox: Sandbox, start: Start, which: str
) -> None:
    sandbox.world.delete(sandbox.world.chats[1500000001], 133)
    media = await found(start, "https://t.me/channel/129-200", which)
    assert [each.message_id for each in media] == [129, 130, 131, 132, *range(134, 144)]


async def test_messages_are_read_a_hundred_at_a_time(sandbox: Sandbox, start: Start) -> None:
    world = sandbox.world
    chat = world.add_chat(Chat(id=1600000001, title="many", username="many"))
    for number in range(1, 1200, 3):
        file = StoredFile(
            id=9000 + number, content=LiteralContent(b"x"), name=f"{number}.bin", dc=sandbox.dc_id
        )
        world.post(chat, StoredMessage(id=number, file=world.add_file(file)))
    accounts = await start(bot=True)
    before = sandbox.counters.requests(method="channels.getMessages")
    media = await accounts.resolve(parse("https://t.me/many/1001-2"))
    assert [each.message_id for each in media] == list(range(4, 1002, 3))
    assert sandbox.counters.requests(method="channels.getMessages") - before == 10


async def test_a_topic_has_only_its_own_messages(start: Start) -> None:
    accounts = await start(user=True)
    for link, ids in (
        ("https://t.me/sandboxforum/10/1-100", [12, 13]),
        ("https://t.me/sandboxforum/1-100?thread=10", [12, 13]),
        ("https://t.me/sandboxforum/1-12", [12]),
    ):
        assert [each.message_id for each in await accounts.resolve(parse(link))] == ids


@pytest.mark.parametrize(
    ("link", "ids"),
    [
        (f"https://t.me/c/{PRIVATE}/1-100", [5]),
        (f"tg://privatepost?channel={PRIVATE}&post=1-100", [5]),
        ("https://t.me/protected/1-9", [5]),
        ("https://t.me/channel/132-133", [132, 133]),  # of an album, what was asked for
        ("https://t.me/channel/133-131?single", [131, 132, 133]),
        ("https://t.me/channel/127-127", [127]),
        ("https://t.me/channel/2147480000-2147483647", []),
    ],
)
async def test_only_files_within_the_range_are_found(start: Start, link: str, ids: list[int]) -> None:
    if not ids:
        with pytest.raises(Permanent, match="None of the messages"):
            await found(start, link, "user")
        return
    assert [each.message_id for each in await found(start, link, "user")] == ids


async def test_files_that_cannot_be_saved_are_skipped(sandbox: Sandbox, start: Start) -> None:
    world = sandbox.world
    world.edit(world.chats[1500000001], 124, file=None, text="it was taken away")
    media = await found(start, "https://t.me/channel/123-125")
    assert [each.message_id for each in media] == [123, 125]


async def test_short_flood_waits_are_waited(sandbox: Sandbox, start: Start) -> None:
    made = sandbox.faults.add("flood_wait=1,method=channels.getMessages,count=1")
    assert len(await found(start, "https://t.me/channel/123-124")) == 2
    assert made.fired


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("https://t.me/channel/144-5000", "None of the messages 144 to 5000 has a file"),
        ("https://t.me/c/1234567890/1-10", "No Telegram account can read this"),
    ],
)
async def test_empty_ranges_are_refused(start: Start, link: str, reason: str) -> None:
    with pytest.raises((Permanent, NeedsLogin), match=reason):
        await found(start, link)
