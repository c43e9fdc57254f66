"""/archive: a whole chat is saved, and its receipt is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saveany.sandbox.world import Chat
from tests.acceptance.bot.conftest import BOT, WATCHED, contains
from tests.acceptance.bot.test_watching import post
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person


@pytest.fixture
def chat(stack: Stack) -> Chat:
    return stack.sandbox.world.chats[WATCHED]


async def test_a_chat_is_archived_and_its_receipt_is_shown(stack: Stack, anna: Person, chat: Chat) -> None:
    for name in ("one.mkv", "two.txt", "three.mkv"):
        post(stack, chat, name)
    await anna.send(BOT, "/archive")
    await anna.receives(contains("You archive no chats yet"))
    await anna.send(BOT, f"/archive -100{chat.id} name=mkv -> local2:Archive")
    card = await anna.receives(contains("Rock & Roll"))
    assert "messages, according to Telegram" in card.text
    folder = stack.folder / "more/Archive"
    await until(
        lambda: folder.exists() and {"one.mkv", "three.mkv"} <= {f.name for f in folder.iterdir()}, within=60
    )

    async def is_complete() -> bool:
        await anna.send(BOT, "/archive")
        found = await anna.receives(contains("according to Telegram"))
        return "Every message is accounted for." in found.text and "): complete" in found.text

    await until(is_complete, within=60)
    assert not (folder / "two.txt").exists()
    await anna.send(BOT, f"/archive -100{chat.id} name=mkv -> local2:Archive")
    await anna.receives(contains("archived already"))


async def test_the_options_of_an_archive_apply_and_texts_are_in_the_default_folder(
    stack: Stack, anna: Person, chat: Chat
) -> None:
    post(stack, chat, "words.mkv")
    for wrong, reply in (
        ("copy=all", "copy=auto, copy=reference or copy=bytes"),
        ("extra=cover,all", "extra=preview, cover, live_video or instant_view"),
        ("comments", "has no comments"),
    ):
        await anna.send(BOT, f"/archive -100{chat.id} {wrong}")
        await anna.receives(contains(reply))
    await anna.send(BOT, "/storage local2:Mine")
    await anna.receives(contains("local2"))
    takeouts = stack.sandbox.counters.requests(method="account.initTakeoutSession")
    await anna.send(
        BOT, f"/archive -100{chat.id} text stories profile_photos takeout extra=cover,preview name=words"
    )
    await anna.receives(contains("Rock & Roll"))
    folder = stack.folder / "more/Mine"
    names = {"words.mkv", "messages-000001.jsonl"}
    await until(lambda: folder.exists() and names <= {f.name for f in folder.iterdir()}, within=60)
    counters = stack.sandbox.counters
    assert counters.requests(method="account.initTakeoutSession") == takeouts + 1
    assert counters.requests(method="stories.getPinnedStories") > 0
    (record,) = [each for each in _records(folder) if each.get("file_name") == "words.mkv"]
    assert record["file"] == "words.mkv"


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "messages-000001.jsonl").read_text().splitlines()]
