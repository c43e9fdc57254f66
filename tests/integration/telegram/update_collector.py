"""Collects the updates that a `BotClient` receives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from saveany.telegram.bot_client import BotClient, Position
from saveany.telegram.update_types import CallbackQuery, ChatMessage, Update


class UpdateCollector:
    """Collects updates, and keeps the position after them."""

    def __init__(self, bot_client: BotClient, position: Position | None = None) -> None:
        self.updates: list[Update] = []
        self.position = position
        self._batches = bot_client.updates(position)
        self._new = asyncio.Condition()
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> UpdateCollector:
        self._task = asyncio.create_task(self._listen())
        await self.until(lambda: self.position is not None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20), self._new:
            while not condition():
                assert not self._task.done(), self._task.result()
                await self._new.wait()

    async def receives(self, *texts: str) -> list[ChatMessage]:
        """Wait for exactly these texts, in this order, since the last call."""
        await self.until(lambda: len(self.updates) >= len(texts))
        heard, self.updates = self.updates, []
        messages = [each for each in heard if isinstance(each, ChatMessage)]
        assert [each.text for each in messages] == list(texts)
        return messages

    async def receive_callback_query(self) -> CallbackQuery:
        await self.until(lambda: self.updates)
        (press,), self.updates = self.updates, []
        assert isinstance(press, CallbackQuery)
        return press

    async def _listen(self) -> None:
        async with aclosing(self._batches) as batches:
            async for letters, position in batches:
                async with self._new:
                    self.updates += letters
                    self.position = position
                    self._new.notify_all()
