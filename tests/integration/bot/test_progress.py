"""Live progress messages with a real store and a recorder of edits."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from saveany.bot.progress import ProgressUpdater, _TrackedMessage
from saveany.bot.render import task_view
from saveany.bot.texts import translator
from saveany.catalogue.catalogue import Catalogue
from saveany.embedded import EmbeddedRedis
from saveany.errors import Permanent, Retryable
from saveany.ids import new_id
from saveany.models import Item, Progress, Stage, Status, TaskSpec
from saveany.service import TaskReader
from saveany.store import Claim, Store, connect
from saveany.store.progress_messages import ProgressMessage
from saveany.telegram.bot_client import ChatGone
from saveany.telegram.update_types import Keyboard
from tests.fixtures.waiting import until

CHAT, OTHER = 1000, -2000
FAST = 0.001
TOTAL = 1_000_000


@dataclass(frozen=True)
class Edit:
    at: float
    chat: int
    message: int
    text: str
    keyboard: Keyboard

    @property
    def phase(self) -> str:
        """`Saved` of `✅ <b>Saved</b>…`."""
        return self.text.partition("<b>")[2].partition("</b>")[0]


@dataclass
class EditRecorder:
    """Records edits; `before` runs first, and may wait or raise."""

    edits: list[Edit] = field(default_factory=list)
    before: Callable[[Edit], Awaitable[None]] | None = None
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def edit(self, chat: int, message: int, text: str, keyboard: Keyboard = ()) -> None:
        edit = Edit(time.monotonic(), chat, message, text, keyboard)
        if self.before:
            await self.before(edit)
        async with self._arrived:
            self.edits.append(edit)
            self._arrived.notify_all()

    async def until(self, told: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(told)

    async def until_shown(self, message: int, phase: str) -> None:
        await self.until(lambda: any(e.message == message and e.phase == phase for e in self.edits))

    async def until_text(self, words: str) -> None:
        await self.until(lambda: words in self.edits[-1].text)

    def phases(self, message: int) -> list[str]:
        return [edit.phase for edit in self.edits if edit.message == message]


async def accept(store: Store) -> str:
    spec = TaskSpec(id=new_id(), type="tgfiles", links=("https://t.me/c/1",), user_id=1, storage="nas")
    assert await store.tasks.accept(spec, "title")
    return spec.id


async def claim(store: Store) -> Claim:
    """Claim the oldest task and start its only file."""
    claimed = await store.claims.claim("w1", ["tgfiles/nas"])
    assert claimed is not None
    await claimed.plan("title", [Item(index=0, name="f", path="f", size=TOTAL)], Progress(), [])
    return claimed


async def progress(claimed: Claim, done: int) -> None:
    await claimed.progress(Stage.DOWNLOADING, Progress(total_bytes=TOTAL, downloaded_bytes=done))


def message(task_id: str, number: int = 1, chat: int = CHAT, **more: str) -> ProgressMessage:
    return ProgressMessage(chat=chat, message=number, task_id=task_id, user_id=1, language="en", **more)


async def shown_now(store: Store, task_id: str) -> str:
    task = await store.tasks.get(task_id)
    assert task is not None
    return task_view(translator("en"), task, await store.tasks.all_items(task_id)).fingerprint


@asynccontextmanager
async def running(live: ProgressUpdater, store: Store) -> AsyncIterator[None]:
    """Runs the live messages, subscribed to events."""
    task = asyncio.create_task(live.run())
    try:
        await until(lambda: is_subscribed(store))
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def is_subscribed(store: Store) -> bool:
    return bool((await store.db.do("PUBSUB", "NUMSUB", "sa:progress"))[1])


async def forgets(store: Store) -> None:
    async def forgotten() -> bool:
        return not await store.progress_messages.all()

    await until(forgotten)


async def test_a_task_is_shown_until_its_end(reader: TaskReader, store: Store) -> None:
    recorder = EditRecorder()
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    task_id = await accept(store)
    with capture_logs() as logs:
        async with running(live, store):
            await live.follow(message(task_id))
            await store.events.add_archive_event("archive_complete", "a1", 1, "News", "")
            await recorder.until_shown(1, "Waiting")
            claimed = await claim(store)
            await progress(claimed, TOTAL // 2)
            await recorder.until_text("50 %")
            assert recorder.edits[-1].keyboard[0][0].data == f"cancel:{task_id}"
            await claimed.finish(Status.COMPLETED)
            await recorder.until_shown(1, "Saved")
            await forgets(store)
    assert not [each for each in logs if each["event"] == "loop_step_failed"]
    assert recorder.edits[-1].phase == "Saved"
    assert {edit.chat for edit in recorder.edits} == {CHAT}


async def test_a_task_followed_while_queued_is_shown(reader: TaskReader, store: Store) -> None:
    recorder = EditRecorder()
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    await live.follow(message(await accept(store), name="Holiday"))
    async with running(live, store):
        await recorder.until_shown(1, "Waiting")
    assert "Holiday" in recorder.edits[0].text


async def test_unchanged_messages_are_not_edited(reader: TaskReader, store: Store) -> None:
    recorder = EditRecorder()
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    first, second = await accept(store), await accept(store)
    async with running(live, store):
        await live.follow(message(first, 1, shown=await shown_now(store, first)))
        await live.follow(message(second, 2))
        await recorder.until_shown(2, "Waiting")
        one, two = await claim(store), await claim(store)
        for number in range(5):
            await progress(one, TOTAL // 2)
            await progress(two, number)
        await one.finish(Status.COMPLETED)
        await two.finish(Status.COMPLETED)
        await forgets(store)
    assert recorder.phases(1)[0] != "Waiting"
    for number in (1, 2):
        told = [(edit.text, edit.keyboard) for edit in recorder.edits if edit.message == number]
        assert all(earlier != later for earlier, later in pairwise(told))


async def test_edits_are_limited_per_chat_and_do_not_delay_other_chats(
    reader: TaskReader, store: Store
) -> None:
    recorder = EditRecorder()
    live = ProgressUpdater(store, reader, recorder, interval=0.1)
    ids = [await accept(store) for _ in range(8)]
    for number, task_id in enumerate(ids):
        await live.follow(message(task_id, number, chat=CHAT))
        await live.follow(message(task_id, 100 + number, chat=OTHER))
    async with running(live, store):
        await recorder.until(lambda: len(recorder.edits) == 16)
    for chat in (CHAT, OTHER):
        times = [edit.at for edit in recorder.edits if edit.chat == chat]
        assert all(b - a >= 0.1 for a, b in pairwise(times))
    assert recorder.edits[-1].at - recorder.edits[0].at < 2 * 7 * 0.1 + 0.5


class Gate:
    """Holds the edits of a chat until it is opened."""

    def __init__(self, chat: int = CHAT) -> None:
        self._chat = chat
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, edit: Edit) -> None:
        if edit.chat == self._chat:
            self.reached.set()
            await self.opened.wait()


async def test_ended_tasks_are_edited_first_then_the_longest_waiting(
    reader: TaskReader, store: Store
) -> None:
    gate = Gate()
    recorder = EditRecorder(before=gate)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    numbers = [0, 4, 2, 3, 1]
    ids = [await accept(store) for _ in numbers]
    for number, task_id in zip(numbers, ids, strict=True):
        await live.follow(message(task_id, number, shown=await shown_now(store, task_id) if number else ""))
    async with running(live, store):
        await gate.reached.wait()  # in message 0; the others are looked at later
        claims = [await claim(store) for _ in ids]
        await claims[3].finish(Status.COMPLETED)
        await until(lambda: _has_heard(live, of_end=3))
        gate.opened.set()
        await recorder.until(lambda: len(recorder.edits) >= len(numbers))
    assert [edit.message for edit in recorder.edits][:5] == [0, 3, 4, 2, 1]


async def _has_heard(live: ProgressUpdater, *, of_end: int) -> bool:
    return any(of_end in chat._ended for chat in live._chats.values())


async def test_a_flood_wait_pauses_one_chat_which_then_shows_the_newest_state(
    reader: TaskReader, store: Store
) -> None:
    asked: list[Edit] = []

    async def flood(edit: Edit) -> None:
        if edit.chat == CHAT:
            asked.append(edit)
            if len(asked) == 1:
                raise Retryable("Telegram asks to wait", after=0.6)

    recorder = EditRecorder(before=flood)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    task_id = await accept(store)
    async with running(live, store):
        await live.follow(message(task_id, 1))
        await live.follow(message(task_id, 2, chat=OTHER))
        await recorder.until_shown(2, "Waiting")
        claimed = await claim(store)
        for number in range(1, 6):
            await progress(claimed, number * TOTAL // 10)
            await recorder.until_text(f"{number}0 %")
        await claimed.finish(Status.COMPLETED)
        await recorder.until_shown(2, "Saved")
        assert recorder.phases(1) == []
        await forgets(store)
    assert recorder.phases(1) == ["Saved"]
    assert len(asked) == 2
    assert asked[1].at - asked[0].at >= 0.6


async def test_a_message_that_cannot_be_edited_is_abandoned(reader: TaskReader, store: Store) -> None:
    refusals = {1: ChatGone("the message was deleted"), 2: Permanent("the bot was removed from the chat")}
    asked: dict[int, int] = defaultdict(int)

    async def refuse(edit: Edit) -> None:
        asked[edit.message] += 1
        if error := refusals.get(edit.message):
            raise error

    recorder = EditRecorder(before=refuse)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    task_id = await accept(store)
    async with running(live, store):
        for number in (1, 2, 3):
            await live.follow(message(task_id, number))
        await recorder.until_shown(3, "Waiting")
        claimed = await claim(store)
        await claimed.finish(Status.FAILED, "no such file")
        await recorder.until_shown(3, "Failed")
        await forgets(store)
    assert (asked[1], asked[2]) == (1, 1)


async def test_an_edit_that_fails_unexpectedly_is_retried(reader: TaskReader, store: Store) -> None:
    errors: Iterator[Exception] = iter([RuntimeError("a bug"), OSError("cut off")])

    async def fail(edit: Edit) -> None:
        if error := next(errors, None):
            raise error

    recorder = EditRecorder(before=fail)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    async with running(live, store):
        await live.follow(message(await accept(store)))
        await recorder.until_shown(1, "Waiting")


async def test_tasks_that_ended_while_the_bot_was_stopped_are_shown_at_its_start(
    reader: TaskReader, store: Store
) -> None:
    recorder = EditRecorder()
    ended, waiting = await accept(store), await accept(store)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    async with running(live, store):
        await live.follow(message(ended, 1))
        await live.follow(message(waiting, 2))
        await recorder.until_shown(2, "Waiting")
        await until(lambda: _all_known(store))
    await (await claim(store)).finish(Status.COMPLETED)
    async with running(ProgressUpdater(store, reader, recorder, interval=FAST), store):
        await recorder.until_shown(1, "Saved")
        await store.tasks.cancel(waiting, [])
        await forgets(store)
    assert recorder.phases(1) == ["Waiting", "Saved"]
    assert recorder.phases(2) == ["Waiting", "Canceled"]


async def _all_known(store: Store) -> bool:
    return all(each.shown for each in await store.progress_messages.all())


async def test_a_task_that_no_longer_exists_is_not_followed(reader: TaskReader, store: Store) -> None:
    recorder = EditRecorder()
    async with running(live := ProgressUpdater(store, reader, recorder, interval=FAST), store):
        await live.follow(message(new_id()))
        await forgets(store)
    assert recorder.edits == []


async def test_a_message_continues_when_its_task_is_retried_during_the_last_edit(
    reader: TaskReader, store: Store
) -> None:
    task_id = await accept(store)

    async def press_retry(edit: Edit) -> None:
        if edit.phase == "Failed":
            task = await store.tasks.get(task_id)
            assert task is not None
            assert await store.tasks.retry(task)
            await live.follow(message(task_id))

    recorder = EditRecorder(before=press_retry)
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    async with running(live, store):
        await live.follow(message(task_id))
        await recorder.until_shown(1, "Waiting")
        await (await claim(store)).finish(Status.FAILED, "no")
        await recorder.until_shown(1, "Failed")
        await recorder.until(lambda: recorder.edits[-1].phase == "Waiting")
        assert len(await store.progress_messages.all()) == 1
        await store.tasks.cancel(task_id, [])
        await recorder.until_shown(1, "Canceled")
        await forgets(store)


async def test_the_bot_waits_for_redis(tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path)
    store = Store(connect(redis.start()))
    recorder = EditRecorder()
    reader = TaskReader(store, Catalogue("", tmp_path, store))
    live = ProgressUpdater(store, reader, recorder, interval=FAST)
    task_id = await accept(store)
    async with running(live, store):
        await live.follow(message(task_id))
        await recorder.until_shown(1, "Waiting")
        with capture_logs() as logs:
            redis.stop()
            await until(lambda: _contains(logs, "waiting_for_redis"))
        redis.start()
        await (await claim(store)).finish(Status.COMPLETED)
        await recorder.until_shown(1, "Saved")
        await forgets(store)
    await store.db.close()
    redis.stop()


def _contains(logs: Sequence[Mapping[str, Any]], words: str) -> bool:
    return any(words in str(entry["event"]) for entry in logs)


async def test_a_thousand_tasks_need_few_requests_and_leave_no_records(
    reader: TaskReader, store: Store
) -> None:
    gate = Gate()
    recorder = EditRecorder(before=gate)
    live = ProgressUpdater(store, reader, recorder, interval=0)
    ids = [await accept(store) for _ in range(1000)]
    for number, task_id in enumerate(ids):
        await live.follow(message(task_id, number))
    async with running(live, store):
        await gate.reached.wait()
        claimed = await claim(store)
        before = await _reads(store)
        for number in range(1000):
            await progress(claimed, number)
        await live.follow(message(await accept(store), 1, chat=OTHER))
        await recorder.until(lambda: any(edit.chat == OTHER for edit in recorder.edits))
        assert await _reads(store) - before < 10
        gate.opened.set()
        await claimed.finish(Status.COMPLETED)
        for task_id in [*ids, *(each.task_id for each in await store.progress_messages.all())]:
            await store.tasks.cancel(task_id, [])
        await forgets(store)
        await until(no_card_is_left)
        assert (live._chats, live._by_task) == ({}, {})
    final = {(edit.chat, edit.message): edit.phase for edit in recorder.edits}
    assert len(final) == 1001
    assert set(final.values()) == {"Saved", "Canceled"}


async def no_card_is_left() -> bool:
    """The last record may remain until its task has ended."""
    gc.collect()
    return not any(isinstance(each, _TrackedMessage) for each in gc.get_objects())


async def _reads(store: Store) -> int:
    stats = await store.db.redis.info("commandstats")
    return int(stats["cmdstat_hgetall"]["calls"])
