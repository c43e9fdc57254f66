"""Questions of the bot and the user's replies."""

from __future__ import annotations

import asyncio

import pytest

from saveany.bot.conversation import Conversations
from saveany.telegram.update_types import ChatMessage, TelegramUser


def message(text: str, *, chat: int = 7, sender: int = 7) -> ChatMessage:
    return ChatMessage(chat=chat, id=1, sender=TelegramUser(id=sender), date_ms=0, text=text)


async def test_a_reply_goes_to_the_conversation_that_asked() -> None:
    talks = Conversations()
    asking = asyncio.create_task(talks.wait_for_reply(7, 7, 10))
    await asyncio.sleep(0)
    assert not talks.expects(message("x", chat=8))
    assert not await talks.deliver(message("x", sender=8))
    assert talks.expects(message("x"))
    assert await talks.deliver(message("x"))
    assert not await talks.deliver(message("y"))
    assert await asking == message("x")


async def test_a_new_question_replaces_the_previous_one() -> None:
    talks = Conversations()
    first = asyncio.create_task(talks.wait_for_reply(7, 7, 10))
    await asyncio.sleep(0)
    second = asyncio.create_task(talks.wait_for_reply(7, 7, 10))
    assert await first is None
    assert await talks.deliver(message("x"))
    assert await second == message("x")


async def test_a_question_without_a_reply_times_out() -> None:
    talks = Conversations()
    assert await talks.wait_for_reply(7, 7, 0.01) is None
    assert not talks.expects(message("x"))


async def test_one_conversation_per_person() -> None:
    talks = Conversations()
    heard: list[str] = []

    async def ask(name: str) -> None:
        try:
            answer = await talks.wait_for_reply(7, 7, 10)
            heard.append(f"{name}: {answer.text if answer else None}")
        except asyncio.CancelledError:
            heard.append(f"{name} ended")
            raise

    talks.begin(7, 7, ask("first"))
    await asyncio.sleep(0)
    talks.begin(7, 7, ask("second"))
    await asyncio.sleep(0)
    assert await talks.deliver(message("x"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert heard == ["first ended", "second: x"]
    assert not talks.end(7, 7)

    talks.begin(7, 7, ask("third"))
    await asyncio.sleep(0)
    assert talks.end(7, 7)
    assert not talks.end(7, 7)
    talks.begin(8, 8, ask("fourth"))
    await asyncio.sleep(0)
    await talks.close()
    assert heard[2:] == ["third ended", "fourth ended"]
    assert not talks.expects(message("x"))


async def test_a_conversation_that_fails_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    talks = Conversations()
    talks.begin(7, 7, fail())
    for _ in range(2):
        await asyncio.sleep(0)
    assert "conversation_failed" in capsys.readouterr().out
