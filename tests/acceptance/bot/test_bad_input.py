"""Unusual or invalid messages get one short, helpful reply, and no file is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from saveany.sandbox import samples
from saveany.sandbox.world import Chat
from tests.acceptance.bot.conftest import BOT, OTHER, contains, has_button
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named, person


async def test_two_hundred_links_get_one_card(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, " ".join(f"t.me/channel/{n}" for n in range(200, 400)))
    card = await anna.receives(has_button("local1"))
    assert "200 files" in card.text
    assert len(anna.received) == 1


async def test_a_button_pressed_twice_acts_once(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(b"x" * 999, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    pressing = anna.press(card, "local1"), anna.press(card, "local2")
    answers: Any = await asyncio.gather(*pressing)
    assert [bool(each.message) for each in answers] == [False, True]
    assert "already handled" in answers[1].message
    await anna.receives(contains("Saved"))
    assert not list((stack.folder / "more").rglob("notes*"))


async def test_a_button_of_another_user_is_refused(stack: Stack, anna: Person) -> None:
    members = {samples.BOT.id, samples.PERSON.id, OTHER}
    stack.sandbox.world.add_chat(
        Chat(id=17, title="G", username="theothers", broadcast=False, members=members)
    )
    await anna.send("theothers", "@sandbox_bot https://t.me/channel/123")
    card = await anna.receives(has_button("local1"))
    async with person(stack.sandbox, OTHER) as other:
        shown = await other.client.get_messages("theothers", ids=card.id)
        refused: Any = await other.press(shown, "local1")
    assert refused.alert
    assert "for someone else" in refused.message
    await anna.press(card, "local1")
    await anna.receives(contains("Saved"))


async def test_a_deleted_message_is_reported(stack: Stack, anna: Person) -> None:
    sent = await anna.send(BOT, named(b"x" * 999, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    await anna.client.delete_messages(BOT, [sent.id], revoke=True)
    await anna.press(card, "local1")
    await anna.receives(contains("deleted"), 20)


@pytest.mark.parametrize(
    "words",
    [
        "/storage local1:.saveany-storage",
        "/dir add local1:a/.saveany-x",
        "/rule add name=pdf -> local1:.saveany-storage",
        "/watch @channel -> local1:.saveany-storage",
    ],
)
async def test_reserved_folders_are_refused(stack: Stack, anna: Person, words: str) -> None:
    await anna.send(BOT, words)
    await anna.receives(contains("reserved by SaveAny"))
