"""/watch: posts of a chat are saved automatically, also those made while the bot was stopped."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from tests.acceptance.bot.conftest import BOT, WATCHED, contains, has_button, kill_bot
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person

_numbers = itertools.count(1)


@pytest.fixture
def chat(stack: Stack) -> Chat:
    """A private channel that the logged in user is a member of."""
    chat = stack.sandbox.world.chats[WATCHED]
    post(stack, chat, "old.mkv")
    return chat


def post(stack: Stack, chat: Chat, name: str = "", text: str = "", album: int | None = None) -> int:
    """Post a message, with a file if a name is given."""
    world = stack.sandbox.world
    content = LiteralContent(f"the bytes of {name}".encode())
    file = (
        world.add_file(StoredFile(id=90_000 + next(_numbers), content=content, name=name)) if name else None
    )
    return world.send(chat, StoredMessage(id=0, text=text, file=file, album=album)).id


def saved(stack: Stack) -> list[str]:
    """Names of the files saved in local2 so far."""
    folder = stack.folder / "more"
    return sorted(str(each.relative_to(folder)) for each in folder.glob("*/*.*") if each.is_file())


async def test_posts_made_while_the_bot_was_stopped_are_saved(
    stack: Stack, anna: Person, chat: Chat, history: Callable[[], Awaitable[list[Any]]]
) -> None:
    await anna.send(BOT, f"/watch -100{chat.id} name=mkv|holiday -> local2:My Films")
    heard = await anna.receives(contains("Rock & Roll"))
    assert "name=mkv|holiday -> local2:My Films" in heard.text
    await kill_bot(stack)
    post(stack, chat, text="just words")
    for name in ("a.mkv", "b.txt", "c.mkv", "d.zip"):
        post(stack, chat, name)
    for n, text in enumerate(("our holiday", "", ""), 1):
        post(stack, chat, f"e{n}.jpg", text, album=5)
    post(stack, chat, text="more words")
    post(stack, chat, "f.mkv")
    await stack.start_bot()

    async def all_ended() -> bool:
        return len(await history()) == 4

    await until(all_ended, within=60)
    told = await anna.receives(contains("saved"), 60)
    expected = [f"My Films/{name}" for name in ("a.mkv", "c.mkv", "e1.jpg", "e2.jpg", "e3.jpg", "f.mkv")]
    assert "Rock & Roll" in told.text
    assert await all_ended()
    assert saved(stack) == expected


async def test_one_post_is_reported_like_any_task(stack: Stack, anna: Person, chat: Chat) -> None:
    await anna.send(BOT, "/watch https://t.me/channel/130 from 141 type=video notify=each")
    heard = await anna.receives(contains("Sample channel"))
    assert "from message 141 on" in heard.text
    told = await anna.receives(contains("Saved"), 30)
    assert "Sample channel" in told.text
    assert "local1:/video_" in told.text


async def test_watches_are_listed_and_ended(stack: Stack, anna: Person, chat: Chat) -> None:
    await anna.send(BOT, "/lswatch")
    await anna.receives(contains("You watch no chats yet"))
    await anna.send(BOT, "/watch @channel type=video,photo size>10MB notify=digest")
    await anna.receives(contains("Sample channel"))
    await anna.send(BOT, f"/watch -100{chat.id} notify=none")
    await anna.receives(contains("Rock & Roll"))
    await anna.send(BOT, "/lswatch")
    shown = await anna.receives(has_button("✖ 2"))
    assert shown.raw_text.splitlines() == [
        "1. Sample channel (@channel)",
        "type=video,photo size>10MB",
        "I notify you once an hour.",
        f"2. Rock & Roll (-100{chat.id})",
        "I do not notify you.",
    ]
    await stack.client.put("/api/v1/limits", json={"archives_per_user": 2})
    await anna.send(BOT, "/watch @channel notify=each name=third")
    await anna.receives(contains("as many as the limit archives_per_user permits"))
    await stack.client.put("/api/v1/limits", json={})
    answer = await anna.press(shown, "✖ 1")
    assert answer.message == "You no longer watch Sample channel."
    await anna.receives(lambda message: message.id == shown.id and "Sample" not in message.text)
    await anna.send(BOT, "/unwatch 1")
    await anna.receives(contains("You no longer watch Rock & Roll."))
    await anna.send(BOT, f"/unwatch -100{chat.id}")
    await anna.receives(contains("You do not watch that chat"))


MISTAKES = {
    "@nobody_is_here": "nobody has this username",
    "@sandbox_person": "is a person or a bot",
    "https://t.me/+abcdef": "invite link",
    "-1001699999999": "not a member",
    "!? name=x": "not a Telegram link",
    "@channel name=(": "not a regular expression",
    "@channel -> cloud:x": "You may not use a storage named cloud",
    "@channel -> nowhere": "STORAGE:FOLDER",
    "@channel -> local1:../x": "cannot lead out of the storage",
    "@channel from yesterday": "message number",
    "@channel from 0": "message number",
    "@channel notify=often": "notify=digest",
    "@channel size>big": "is not a size",
    '@channel name="': "has no value",
}


def _follows(asked: int, message: Any) -> bool:
    return bool(message.id > asked)


async def test_invalid_watch_commands_are_refused(stack: Stack, anna: Person) -> None:
    for words, answer in MISTAKES.items():
        asked = await anna.send(BOT, f"/watch {words}")
        said = await anna.receives(partial(_follows, asked.id), 30)
        assert answer in said.text, (words, said.text)
    stack.sandbox.faults.add("flood_wait=100,method=messages.getHistory,count=1")
    await anna.send(BOT, "/watch @channel")
    await anna.receives(contains("asks to wait 100 s; try again later"))


async def test_chats_are_recorded_when_they_go_live(stack: Stack, anna: Person, chat: Chat) -> None:
    await anna.send(BOT, f"/watch -100{chat.id} live type=video")
    await anna.receives(contains("Write /watch CHAT live"))
    await anna.send(BOT, f"/watch -100{chat.id} live -> local2:Streams")
    await anna.receives(contains("whenever it is live"))
    await anna.send(BOT, f"/watch -100{chat.id} live")
    await anna.receives(contains("is recorded already"))
    listed = (await stack.client.get("/api/v1/live")).json()["live"]
    assert [(each["chat_id"], each["storage"], each["dir_path"]) for each in listed] == [
        (int(f"-100{chat.id}"), "local2", "Streams")
    ]
    await anna.send(BOT, "/lswatch")
    await anna.receives(contains("I record it when it goes live."))
    await anna.send(BOT, f"/unwatch -100{chat.id} live")
    await anna.receives(contains("I no longer record"))
    await anna.send(BOT, f"/unwatch -100{chat.id} live")
    await anna.receives(contains("do not record that chat"))
