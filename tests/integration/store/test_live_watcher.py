"""A stream is recorded once, and its times are those of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import pytest

from saveany import ids
from saveany.archives.live import LiveWatcher
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.service import OPERATOR, TaskService
from saveany.store import Store
from saveany.store.live import LiveWatch
from saveany.telegram.chat_tops import ChatTop
from saveany.telegram.livestream import LiveCall

CHAT = -1001234567890
#: Seconds by which the clock of the machine is wrong.
JUMP = 400 * 24 * 3600.0


class Telegram:
    """A chat that is live. Both processes see it before either of them records it."""

    def __init__(self) -> None:
        self.history = self
        self._seen = asyncio.Barrier(2)

    async def tops(self, account: str, chats: Mapping[int, str]) -> dict[int, ChatTop]:
        return {chat: ChatTop(1, is_live=True) for chat in chats}

    async def live_call(self, account: str, chat: str) -> LiveCall:
        await self._seen.wait()
        return LiveCall(id=5, access_hash=1, title="News", dc=2, viewers=3)


@pytest.mark.parametrize("jump", [0, JUMP, -JUMP])
async def test_two_processes_that_notice_a_stream_record_it_once(
    jump: float, store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(
        {"users": [{"id": 11}], "storages": [{"name": "here", "type": "memory", "space": "here"}]}
    )
    tasks = TaskService(config, store, catalogue)
    watch = LiveWatch(id="w", user_id=11, chat=CHAT, title="News", username="a", account="main", created_at=1)
    await store.live.add(watch)
    before = await store.db.time_ms()
    read, read_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: read() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: read_ns() + int(jump * 1e9))
    monkeypatch.setattr(ids, "_newest", 0)  # restored afterwards: ids never go back
    accounts = cast(Any, Telegram())
    watchers = [LiveWatcher(accounts, store, tasks) for _ in range(2)]
    for _ in range(2):
        await asyncio.gather(*(each.check() for each in watchers))
    (task,) = await tasks.list(OPERATOR)
    broadcast = (await store.live.broadcasts())["w"]
    assert broadcast.task_id == task.id
    after = await store.db.time_ms()
    assert before <= task.spec.params["started"] <= broadcast.seen_at <= after
    assert before <= broadcast.started_at <= after
