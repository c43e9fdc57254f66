"""Notifications about watched chats: sent once, grouped, and limited in rate."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import pytest

from saveany.bot.watch_notifier import WatchNotifier
from saveany.errors import Permanent, Retryable
from saveany.ids import new_id
from saveany.models import Item, ItemStatus, Progress, Status, TaskSpec
from saveany.service import TaskReader
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.update_types import Keyboard
from saveany.texts import Text

OWNER = 42
HOUR = 3600 * 1000

_numbers = itertools.count(1)


@dataclass
class MessageRecorder:
    """Records sent texts, or raises `error` if it is set."""

    said: list[tuple[int, str]] = field(default_factory=list)
    keyboards: list[Keyboard] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def send_text(self, chat: int, text: str, keyboard: Keyboard = (), *, key: str = "") -> int:
        if self.error:
            raise self.error
        self.said.append((chat, text))
        self.keyboards.append(keyboard)
        self.keys.append(key)
        return len(self.said)


@pytest.fixture
def recorder() -> MessageRecorder:
    return MessageRecorder()


@pytest.fixture
def notifier(store: Store, reader: TaskReader, recorder: MessageRecorder) -> WatchNotifier:
    return WatchNotifier(store, reader, recorder, "")


async def watched(store: Store, id_: str = "w1", **changes: object) -> Archive:
    fields = {
        "user_id": OWNER,
        "chat": -1001600000001,
        "title": "Rock & Roll",
        "account": "me",
        "created_at": 1,
    }
    watch = Archive(id=id_, **{**fields, **changes})  # type: ignore[arg-type] # a test's own fields
    await store.archives.add(watch)
    return watch


async def queued_task(store: Store, watch_id: str = "w1") -> str:
    """A queued task of a watch."""
    spec = TaskSpec(id=new_id(), type="tgfiles", links=("https://t.me/c/1",), user_id=OWNER, storage="nas")
    assert await store.tasks.accept(spec, "[tgfiles](x->nas:/)")
    await store.archives.add_task(spec.id, watch_id)
    return spec.id


async def complete_oldest_task(store: Store, error: str = "") -> str:
    """Complete the oldest task; returns the name of its file."""
    claim = await store.claims.claim("w", ["tgfiles/nas"])
    assert claim is not None
    name = f"film-{next(_numbers)}.mkv"
    item = Item(index=0, name=name, path=name, size=1000)
    await claim.plan(f"[tgfiles]({name}->nas:/{name})", [item], Progress(), [], subject=Text(name))
    status = Status.FAILED if error else Status.COMPLETED
    done = Item(
        index=0,
        name=name,
        path=name,
        size=1000,
        status=ItemStatus.FAILED if error else ItemStatus.COMPLETED,
        final=name,
        error=error,
    )
    await claim.item(done)
    await claim.finish(status, error=error)
    return name


async def test_one_saved_file_is_announced_immediately(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store)
    await queued_task(store)
    await notifier.round()
    assert recorder.said == []
    name = await complete_oldest_task(store)
    for _ in range(2):
        await notifier.round()
    ((chat, text),) = recorder.said
    assert chat == OWNER
    assert "Rock &amp; Roll" in text
    assert f"nas:/{name}" in text
    assert await store.archives.unnotified_tasks() == {}


async def test_a_failure_has_a_retry_button(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store)
    task = await queued_task(store)
    await complete_oldest_task(store, error="the disk <is> full")
    await notifier.round()
    assert "the disk &lt;is&gt; full" in recorder.said[0][1]
    assert recorder.keyboards[0][0][0].data == f"retry:{task}"


async def test_several_files_are_announced_together(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store)
    for _ in range(14):
        await queued_task(store)
    names = [await complete_oldest_task(store) for _ in range(12)] + [
        await complete_oldest_task(store, error="too large")
    ]
    await notifier.round()
    ((_, text),) = recorder.said
    lines = text.splitlines()
    assert lines[1] == "12 files saved"
    assert lines[2] == f"❌ {names[-1]}: too large"
    assert lines[3:12] == [f"✅ {name}" for name in names[:9]]
    assert lines[12] == "and 3 more"
    assert len(await store.archives.unnotified_tasks()) == 1


async def test_announcements_are_limited_in_rate(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store)
    for _ in range(3):
        await queued_task(store)
        await complete_oldest_task(store)
        await notifier.round()
    assert len(recorder.said) == 1
    await store.db.do("DEL", "sa:bot:told:watch:w1")  # half a minute passes
    await notifier.round()
    assert "2 files saved" in recorder.said[1][1]


async def test_a_digest_comes_after_an_hour(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched(store, notify="digest")
    for _ in range(2):
        await queued_task(store)
        await complete_oldest_task(store)
    await notifier.round()
    assert recorder.said == []
    monkeypatch.setattr("saveany.bot.watch_notifier._now", lambda: time.time_ns() // 1_000_000 + HOUR + 1000)
    await notifier.round()
    assert [text.splitlines()[1] for _, text in recorder.said] == ["2 files saved"]
    assert await store.db.do("TTL", "sa:bot:told:watch:w1") > 3500


async def test_a_clock_that_went_back_delays_no_notification(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched(store)
    await queued_task(store)
    await complete_oldest_task(store)
    monkeypatch.setattr(
        "saveany.bot.watch_notifier._now", lambda: time.time_ns() // 1_000_000 - 400 * 24 * HOUR
    )
    await notifier.round()
    assert len(recorder.said) == 1


async def test_users_who_disabled_notifications_get_none(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store, notify="none")
    for watch in ("w1", "ended"):
        await queued_task(store, watch)
        await complete_oldest_task(store)
    await notifier.round()
    assert recorder.said == []
    assert await store.archives.unnotified_tasks() == {}


async def test_a_flood_wait_loses_no_notification_and_delays_no_other_user(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store)
    await queued_task(store)
    await complete_oldest_task(store)
    recorder.error = Retryable("wait", after=30)
    await notifier.round()
    assert len(await store.archives.unnotified_tasks()) == 1
    recorder.error = Permanent("the user has blocked the bot")
    await store.db.do("DEL", "sa:bot:told:watch:w1")
    await notifier.round()
    assert await store.archives.unnotified_tasks() == {}


async def test_a_lasting_problem_is_reported_once(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched(store)
    now = time.time_ns() // 1_000_000
    await store.archives.set_problem("w1", Text("it is <gone>."), now - 300_000)
    await notifier.round()
    assert recorder.said == []
    await store.archives.set_problem("w1", Text("it is <gone>."), now)
    monkeypatch.setattr("saveany.bot.watch_notifier._now", lambda: now + 400_000)
    for _ in range(2):
        await notifier.round()
    ((_, text),) = recorder.said
    assert "Rock &amp; Roll" in text
    assert "it is &lt;gone&gt;. I will continue" in text
    await store.archives.set_problem("w1", None, now)
    watch = await store.archives.get("w1")
    assert watch is not None
    assert (watch.problem, watch.problem_since) == ("", 0)


async def test_notifications_use_the_language_of_the_user(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder
) -> None:
    await watched(store, language="zh-Hans")
    for _ in range(2):
        await queued_task(store)
        await complete_oldest_task(store)
    await notifier.round()
    assert "已保存 2 个文件" in recorder.said[0][1]


async def test_a_problem_is_reported_in_the_language_of_the_user(
    store: Store, notifier: WatchNotifier, recorder: MessageRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched(store, language="zh-Hans")
    now = time.time_ns() // 1_000_000
    problem = Text(
        "{reason}. Log in again: {command}", {"reason": Text("the login has expired"), "command": "x"}
    )
    await store.archives.set_problem("w1", problem, now)
    monkeypatch.setattr("saveany.bot.watch_notifier._now", lambda: now + 700_000)
    await notifier.round()
    assert "登录已过期。请重新登录：x" in recorder.said[0][1]  # noqa: RUF001
