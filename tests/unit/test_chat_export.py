"""The list of the files in a chat: read on after a wait that Telegram demands; other errors end it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.config import Config, User
from saveany.errors import Permanent, Retryable, TooMany
from saveany.filters import Filter
from saveany.service import OPERATOR
from saveany.service.chats import ChatExport, ChatService
from saveany.telegram.chat_state import ChatState
from saveany.telegram.history import MessagePage, ReadMessage


class History:
    """A chat with 300 messages, in which errors precede the second page."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.asked: list[int] = []

    async def chat_state(self, *_: object, **__: object) -> ChatState:
        return ChatState(id=-1000000000005, title="c", username="c", top=300, account="a")

    async def messages_after(self, _: int, seen: int, **__: object) -> MessagePage:
        self.asked.append(seen)
        if seen and self.errors:
            raise self.errors.pop(0)
        messages = [ReadMessage(id=n, date_ms=n) for n in range(seen + 1, seen + 101)]
        return MessagePage(messages, 300, "c", "a", None)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which take no time."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("saveany.service.chats.asyncio.sleep", sleep)
    return waits


async def pages(history: History) -> int:
    async def accounts() -> Any:
        return SimpleNamespace(history=history)

    service = ChatService(cast(Config, None), accounts)
    found = await service.export(OPERATOR, User(id=1), "@chat", "", Filter(), 0, 0)
    return len([page async for page in found.pages])


async def test_a_page_is_read_again_after_the_wait(waits: list[float]) -> None:
    history = History([Retryable("flood", after=40.0), Retryable("flood", after=7.0), Retryable("silent")])
    assert await pages(history) == 3
    assert history.asked == [0, 100, 100, 100, 100, 200]
    assert waits == [40.0, 7.0, 1.0]


async def test_other_errors_end_it(waits: list[float]) -> None:
    with pytest.raises(Permanent):
        await pages(History([Permanent("kicked")]))
    assert waits == []
    with pytest.raises(Retryable):
        await pages(History([Retryable("silent") for _ in range(30)]))
    assert len(waits) < 10


async def test_all_users_together_export_eight_chats_at_once() -> None:
    """One that is closed twice makes room for one."""

    async def accounts() -> Any:
        return SimpleNamespace(history=History([]))

    service = ChatService(cast(Config, None), accounts)

    async def begin(user_id: int) -> ChatExport:
        return await service.export(OPERATOR, User(id=user_id), "@chat", "", Filter(), 0, 0)

    running = [await begin(user_id) for user_id in (1, 1, 2, 2, 3, 3, 4, 4)]
    with pytest.raises(TooMany, match="2 chats"):
        await begin(1)
    with pytest.raises(TooMany, match="8 chats"):
        await begin(5)
    for _ in range(2):
        running[0].close()
    running.append(await begin(5))
    with pytest.raises(TooMany, match="8 chats"):
        await begin(6)
