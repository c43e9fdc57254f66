"""What users must fulfil before the bot makes a link, and where the file is kept for it.

Here are no storages, so that links are all that there is, and the bot makes them at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.world import Chat
from tests.acceptance.bot.conftest import BOT, OTHER, contains, has_button, users_and_storages
from tests.acceptance.bot.test_links import DATA, download, is_link, paths
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named, person

CLUB, KEPT = 1600000002, 1600000003
LIMIT = 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("links")
    links = {"must_join": "@theclub", "channel": int(f"-100{KEPT}"), "per_day": LIMIT, "openings": 0}
    tables: dict[str, Any] = {**users_and_storages(folder), "links": links, "storages": []}
    async with Stack(folder, tables=tables) as stack:
        world, bot = stack.sandbox.world, samples.BOT.id
        club = Chat(id=CLUB, title="The <Club>", username="theclub", members={bot}, admins={bot})
        world.add_chat(club)
        world.add_chat(Chat(id=KEPT, title="Kept", members={bot}, admins={bot}))
        await stack.start_bot()
        async with person(stack.sandbox) as anna:
            await anna.send(BOT, "/start")
            await anna.receives(contains("Send me files"))
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def strict(strict_stack: Stack) -> Stack:
    """The bot is an administrator of both chats, and nobody else is in them."""
    for chat in (CLUB, KEPT):
        strict_stack.sandbox.world.chats[chat].admins = {samples.BOT.id}
    strict_stack.sandbox.world.chats[CLUB].members = {samples.BOT.id}
    return strict_stack


@asynccontextmanager
async def bert(stack: Stack) -> AsyncIterator[Person]:
    """A user who is no admin."""
    async with person(stack.sandbox, OTHER) as one:
        yield one


async def test_a_user_joins_and_gets_links(strict: Stack) -> None:
    # One test: the bot remembers for some minutes who is a member.
    await _nobody_can_be_seen(strict)
    await _a_member_gets_links(strict)


async def _nobody_can_be_seen(strict: Stack) -> None:
    club = strict.sandbox.world.chats[CLUB]
    club.admins = set()
    async with bert(strict) as one, person(strict.sandbox) as anna:
        await one.send(BOT, named(DATA, "notes.txt"))
        told = await one.receives(contains("The operator has been told"))
        assert "@theclub" in told.raw_text
        notice = await anna.receives(contains("links.must_join"))
        assert "Make me an administrator" in notice.raw_text
        await one.send(BOT, named(DATA, "notes.txt"))
        await one.receives(lambda message: contains("has been told")(message) and message.id > told.id)
        assert len(anna.received) == 1  # once a day
    club.admins = {samples.BOT.id}


async def _a_member_gets_links(strict: Stack) -> None:
    world = strict.sandbox.world
    async with bert(strict) as one:
        sent = await one.send(BOT, named(DATA, "mine.txt"))
        ask = await one.receives(has_button("I have joined"))
        assert "The <Club>" in ask.raw_text
        assert ask.buttons[0][0].url == "https://t.me/theclub"
        answer = await one.press(ask, "I have joined")
        assert answer.message == "You are not a member of The <Club> yet."
        world.chats[CLUB].members.add(OTHER)
        await one.press(ask, "I have joined")
        link = await one.receives(is_link)
        assert link.id == ask.id
        [path] = paths(link)
        kept = [each for each in world.chats[KEPT].messages.values() if each.file]
        assert [each.origin for each in kept if each.file and each.file.name == "mine.txt"] == [None]
        await one.client.delete_messages(BOT, [sent.id])
        assert await download(strict, path) == DATA
        world.chats[CLUB].members.remove(OTHER)  # noticed after some minutes
        for number in range(2, LIMIT + 1):
            await one.send(BOT, named(DATA, f"more{number}.txt"))
            await one.receives(contains(f"more{number}.txt"))
        await one.send(BOT, named(DATA, "too much.txt"))
        refused = await one.receives(contains("links today"))
        assert f"{LIMIT} links" in refused.raw_text


async def test_the_bot_says_that_it_may_not_post(strict: Stack) -> None:
    strict.sandbox.world.chats[KEPT].admins = set()
    async with person(strict.sandbox) as anna:
        await anna.send(BOT, named(DATA, "notes.txt"))
        refused = await anna.receives(contains("may not post"))
        assert "links.channel" in refused.raw_text
        strict.sandbox.world.chats[KEPT].admins = {samples.BOT.id}
        await anna.send(BOT, named(DATA, "notes.txt"))  # admins need not join
        assert await download(strict, paths(await anna.receives(is_link))[0]) == DATA


async def test_what_is_not_sent_to_the_bot_is_not_copied(strict: Stack) -> None:
    before = len(strict.sandbox.world.chats[KEPT].messages)
    async with person(strict.sandbox) as anna:
        await anna.send(BOT, "https://t.me/channel/124")
        assert len(await download(strict, paths(await anna.receives(is_link))[0])) == 1
    assert len(strict.sandbox.world.chats[KEPT].messages) == before
