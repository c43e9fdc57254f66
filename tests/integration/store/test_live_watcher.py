"""A stream is recorded once, and its times are those of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
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


class CallOfPeople(Telegram):
    """A chat with an ordinary call, which the account may have recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.call = LiveCall(5, 1, "News", 2, 3, is_stream=False, is_managed=True)

    async def live_call(self, account: str, chat: str) -> LiveCall:
        return self.call

    def client(self, account: str) -> Any:
        return SimpleNamespace(session=SimpleNamespace(user_id=7))

    async def messages_before(self, chat: int, before: int, **_: Any) -> Any:
        assert chat == 7
        return SimpleNamespace(last=41)


def service(store: Store, catalogue: Catalogue, users: int = 1) -> TaskService:
    config = Config.model_validate(
        {
            "users": [{"id": 11 + each} for each in range(users)],
            "storages": [{"name": "here", "type": "memory", "space": "here"}],
        }
    )
    return TaskService(config, store, catalogue)


def watch_of(user: int) -> LiveWatch:
    fields: dict[str, Any] = {"chat": CHAT, "title": "News", "username": "a", "account": "main"}
    return LiveWatch(id=f"w{user}", user_id=user, created_at=1, **fields)


async def test_users_of_an_account_share_the_recording_of_a_call(store: Store, catalogue: Catalogue) -> None:
    """Also when what is known of the call is lost after Telegram has begun to record it."""
    tasks, accounts = service(store, catalogue, users=2), CallOfPeople()
    watcher = LiveWatcher(cast(Any, accounts), store, tasks)
    for user in (11, 12):
        await store.live.add(watch_of(user))
    await watcher.check()
    accounts.call = replace(accounts.call, is_recorded=True)
    for user in (11, 12):
        await store.live.note(f"w{user}", None)
    await watcher.check()
    assert [each.problem for each in await store.live.all()] == ["", ""]
    first, second = (each.spec.params for each in await tasks.list(OPERATOR))
    assert (first["saved_after"], second["saved_after"]) == (41, 41)
    assert first["started"] == second["started"]  # which names the recording
    assert len(await store.live.broadcasts()) == 2


async def test_a_call_that_somebody_else_records_is_recorded_once_that_ends(
    store: Store, catalogue: Catalogue
) -> None:
    tasks, accounts = service(store, catalogue), CallOfPeople()
    watcher = LiveWatcher(cast(Any, accounts), store, tasks)
    await store.live.add(watch_of(11))
    accounts.call = replace(accounts.call, is_recorded=True)
    await watcher.check()
    (shown,) = await store.live.all()
    assert "recording this call already" in str(shown.problem)
    assert await tasks.list(OPERATOR) == []
    accounts.call = replace(accounts.call, is_recorded=False)
    await watcher.check()
    (shown,) = await store.live.all()
    assert shown.problem == ""
    assert len(await tasks.list(OPERATOR)) == 1


@pytest.mark.parametrize("jump", [0, JUMP, -JUMP])
async def test_two_processes_that_notice_a_stream_record_it_once(
    jump: float, store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = service(store, catalogue)
    await store.live.add(watch_of(11))
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
    broadcast = (await store.live.broadcasts())["w11"]
    assert broadcast.task_id == task.id
    after = await store.db.time_ms()
    assert before <= task.spec.params["started"] <= broadcast.seen_at <= after
    assert before <= broadcast.started_at <= after
