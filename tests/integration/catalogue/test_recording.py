"""Recording: what ends in Redis is in the catalogue once, whatever fails in between."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select
from structlog.testing import capture_logs

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.tables import files
from saveany.errors import CatalogueUnavailable
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.service import TaskReader
from saveany.store import Claim, Store
from tests.fixtures.catalogue import Postgres
from tests.fixtures.waiting import until
from tests.integration.store.test_lifecycle import accept, claim, delivery


def item(index: int, status: ItemStatus = ItemStatus.COMPLETED, **fields: object) -> Item:
    name = f"file{index}.mp4"
    return replace(Item(index=index, name=name, path=f"a/b/{name}", size=7, status=status), **fields)


async def planned(store: Store, *items: Item, **spec: object) -> Claim:
    """A running task with these items."""
    await accept(store, **spec)
    claimed = await claim(store)
    await claimed.plan("title", [replace(each, status=ItemStatus.QUEUED) for each in items], Progress(), [])
    return claimed


async def history(catalogue: Catalogue) -> list[str]:
    return [task.id for task in (await catalogue.history.page(HistoryFilter())).tasks]


async def saved(catalogue: Catalogue) -> list[tuple[str, int]]:
    """Name and size of each recorded file."""
    await catalogue.recorder.catch_up()
    async with catalogue._database.read() as connection:
        rows = await connection.execute(select(files.c.name, files.c.size).order_by(files.c.name))
        return [(row.name, row.size) for row in rows]


async def test_a_saved_file_is_recorded_while_its_task_runs(store: Store, any_catalogue: Catalogue) -> None:
    claimed = await planned(store, item(0), item(1))
    await claimed.item(item(0))
    assert await saved(any_catalogue) == [("file0.mp4", 7)]
    assert await history(any_catalogue) == []
    await claimed.finish(Status.COMPLETED, items=[item(1)])
    assert await history(any_catalogue) == [claimed.task.id]
    assert await saved(any_catalogue) == [("file0.mp4", 7), ("file1.mp4", 7)]


async def test_a_file_that_was_removed_again_is_not_recorded(store: Store, any_catalogue: Catalogue) -> None:
    claimed = await planned(store, item(0), item(1))
    await claimed.item(item(0), item(1))
    assert len(await saved(any_catalogue)) == 2
    await claimed.item(item(0, ItemStatus.QUEUED, undone=1))
    assert await saved(any_catalogue) == [("file1.mp4", 7)]


async def test_each_part_of_a_video_is_a_file(store: Store, any_catalogue: Catalogue) -> None:
    """All are removed with the item."""
    names = ["file0 (1 of 2).mp4", "file0 (2 of 2).mp4"]
    parts = [{"name": name, "size": 3 + n, "page": ""} for n, name in enumerate(names)]
    video = item(0, reference={"account": "me", "files": [{"message": 8}, {"message": 9}], "parts": parts})
    claimed = await planned(store, item(0), item(1))
    await claimed.item(video, item(1))
    for _ in range(2):
        await store.db.do("XADD", "sa:record", "*", "task", claimed.task.id, "items", "*")
        assert await saved(any_catalogue) == [(names[0], 3), (names[1], 4), ("file1.mp4", 7)]
    await claimed.item(item(0, ItemStatus.QUEUED, undone=1))
    assert await saved(any_catalogue) == [("file1.mp4", 7)]


async def test_recording_twice_changes_nothing(store: Store, any_catalogue: Catalogue) -> None:
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0)])
    before = await history(any_catalogue), await saved(any_catalogue)
    for _ in range(3):
        await store.db.do("XADD", "sa:record", "*", "task", claimed.task.id, "items", "*")
    assert (await history(any_catalogue), await saved(any_catalogue)) == before
    assert await store.recording.last_id() == ""


async def test_a_retried_task_leaves_the_history_until_it_ends_again(
    store: Store, any_catalogue: Catalogue
) -> None:
    claimed = await planned(store, item(0), item(1))
    await claimed.finish(Status.FAILED, "why", items=[item(0), item(1, ItemStatus.FAILED)])
    assert await history(any_catalogue) == [claimed.task.id]
    task = await store.tasks.get(claimed.task.id)
    assert task is not None
    assert await store.tasks.retry(task)
    assert await history(any_catalogue) == []
    assert await saved(any_catalogue) == [("file0.mp4", 7)]
    again = await claim(store)
    await again.finish(Status.COMPLETED, items=[item(1)])
    (found,) = (await any_catalogue.history.page(HistoryFilter())).tasks
    assert (found.status, found.run, found.error) == (Status.COMPLETED, 2, "")


async def test_an_ended_task_leaves_redis_and_can_still_be_read_and_retried(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await planned(store, item(0), item(1), user_id=7)
    await claimed.finish(Status.FAILED, "why", items=[item(0), item(1, ItemStatus.FAILED)])
    task_id, reader = claimed.task.id, TaskReader(store, any_catalogue)
    before = await store.tasks.get(task_id), await store.tasks.all_items(task_id)
    await any_catalogue.recorder.catch_up()
    monkeypatch.setattr("saveany.store.recording._KEPT_MS", -1)
    await store.recording.expire()
    assert [key for key in await store.db.do("KEYS", "*") if task_id.encode() in key] == []
    assert (await reader.get(task_id), await reader.all_items(task_id)) == before
    assert await reader.items(task_id, 1, 5) == before[1][1:]
    assert await history(any_catalogue) == [task_id]

    await reader.bring_back(task_id)
    task = await store.tasks.get(task_id)
    assert task == before[0]
    assert task is not None
    assert await store.tasks.retry(task)
    again = await claim(store)
    assert [each.status for each in again.items] == [ItemStatus.COMPLETED, ItemStatus.QUEUED]
    assert await history(any_catalogue) == []


async def test_only_recorded_tasks_leave_redis(
    store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.store.recording._KEPT_MS", -1)
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0)], deliveries=[delivery(claimed.task.id)])
    await store.recording.expire()
    assert await store.tasks.exists(claimed.task.id)  # it is not recorded
    await catalogue.recorder.catch_up()
    await store.recording.expire()
    assert await store.tasks.exists(claimed.task.id)  # its webhook was not sent
    (due,) = await store.outbox.claim(1, 60_000)
    await store.outbox.settle(due, "delivered", 200, "")
    await store.recording.expire()
    assert await store.tasks.exists(claimed.task.id)  # the outcome is not recorded
    await catalogue.recorder.catch_up()
    await store.recording.expire()
    assert not await store.tasks.exists(claimed.task.id)
    (task,) = (await catalogue.history.page(HistoryFilter())).tasks
    assert task.webhook["state"] == "delivered"
    assert await store.outbox.of_task(task.id) == []


async def test_the_oldest_recorded_tasks_leave_when_there_are_too_many(
    store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.store.recording._MAX_KEPT", 2)
    ended = []
    for n in range(5):
        claimed = await planned(store, item(n))
        await claimed.finish(Status.COMPLETED)
        await catalogue.recorder.catch_up()
        ended.append(claimed.task.id)
    await store.recording.expire()
    assert [task_id for task_id in ended if await store.tasks.exists(task_id)] == ended[3:]
    assert await history(catalogue) == ended[::-1]


async def test_many_entries_are_recorded_in_several_transactions(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.catalogue.recorder.MAX_ENTRIES", 3)
    monkeypatch.setattr("saveany.catalogue.recorder._MAX_ITEMS", 4)
    ended = []
    for n in range(8):
        items = [item(k) for k in range(n)]
        claimed = await planned(store, *items)
        await claimed.finish(Status.COMPLETED, items=items)
        ended.append(claimed.task.id)
    assert await history(any_catalogue) == ended[::-1]
    assert len(await saved(any_catalogue)) == sum(range(8))


async def test_what_a_recorder_has_read_is_dropped_when_the_task_is_removed_meanwhile(
    store: Store, any_catalogue: Catalogue
) -> None:
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED)
    recorder = any_catalogue.recorder
    await any_catalogue.history.remove("nobody")  # the recorder needs a new turn from now on
    read = recorder._read

    async def read_then_lose_the_task(entries: object) -> object:
        batch = await read(entries)  # type: ignore[arg-type]
        recorder._read = read  # type: ignore[method-assign]
        await any_catalogue.history.remove(claimed.task.id)
        return batch

    recorder._read = read_then_lose_the_task  # type: ignore[method-assign, assignment]
    assert await history(any_catalogue) == []


async def test_two_recorders_share_the_work(store: Store, any_catalogue: Catalogue) -> None:
    other = Catalogue.__new__(Catalogue)
    other.__dict__ |= any_catalogue.__dict__
    other.recorder = type(any_catalogue.recorder)(any_catalogue._database, store)
    ended = []
    for n in range(6):
        claimed = await planned(store, item(n))
        await claimed.finish(Status.COMPLETED)
        ended.append(claimed.task.id)
        await asyncio.gather(any_catalogue.recorder.catch_up(), other.recorder.catch_up())
    assert await history(any_catalogue) == ended[::-1]
    assert await store.recording.last_id() == ""


async def test_text_that_a_database_refuses_is_recorded_with_substitutes(
    store: Store, any_catalogue: Catalogue
) -> None:
    claimed = await planned(store, item(0))
    odd = item(0, path="a\x00/b\ufffe.mp4", sha256="\x00", source={"chat": 2**80, "message": "x"}, size=2**70)
    await claimed.finish(Status.FAILED, "no\x00thing", items=[odd])
    assert await history(any_catalogue) == [claimed.task.id]
    assert await saved(any_catalogue) == [("b\ufffe.mp4", 2**63 - 1)]


async def test_one_entry_that_cannot_be_written_stops_no_other(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await planned(store, item(0)), await planned(store, item(1))
    monkeypatch.setattr("saveany.catalogue.rows._MAX", 2**90)
    await bad.finish(Status.COMPLETED, items=[item(0, size=2**80)])
    await good.finish(Status.COMPLETED, items=[item(1)])
    with capture_logs() as logs:
        assert await history(any_catalogue) == [good.task.id]
    assert [line["task"] for line in logs if line["event"] == "task_not_recorded"] == [bad.task.id]
    assert await store.tasks.exists(bad.task.id)


async def test_an_outage_of_the_database_stops_no_task(
    postgres_server: Postgres, store: Store, tmp_path: Path, patient: None
) -> None:
    catalogue = Catalogue(postgres_server.url("postgres"), tmp_path, store)
    await catalogue.open()
    async with catalogue.running():
        first = await planned(store, item(0))
        await first.finish(Status.COMPLETED)
        assert await history(catalogue) == [first.task.id]
        postgres_server.stop(9)
        second = await planned(store, item(1))
        await second.finish(Status.COMPLETED)
        with pytest.raises(CatalogueUnavailable):
            await catalogue.history.page(HistoryFilter())
        waiting = await store.recording.waiting()
        assert waiting.count >= 1
        assert waiting.since is not None
        postgres_server.start()

        async def recorded() -> bool:
            return not await store.recording.last_id()

        await until(recorded)
        assert await history(catalogue) == [second.task.id, first.task.id]
    await catalogue.close()


async def test_restarts_of_the_database_lose_nothing(
    postgres_server: Postgres, store: Store, tmp_path: Path, patient: None
) -> None:
    catalogue = Catalogue(postgres_server.url("postgres"), tmp_path, store)
    await catalogue.open()
    ended: list[str] = []
    seen = {"reads": 0, "outages": 0}

    def more(what: str, before: int) -> bool:
        return seen[what] > before + 5

    async def work() -> None:
        claimed = await planned(store, item(0))
        await claimed.finish(Status.COMPLETED, items=[item(0)])
        ended.append(claimed.task.id)

    async def read() -> None:
        while True:
            try:
                await catalogue.history.get_many(ended)
                seen["reads"] += 1
            except CatalogueUnavailable:  # nothing else
                seen["outages"] += 1
                await asyncio.sleep(0)

    async with catalogue.running():
        readers = [asyncio.create_task(read()) for _ in range(3)]
        for stop in (postgres_server.kill, postgres_server.stop, postgres_server.kill):
            await work()
            await until(partial(more, "reads", seen["reads"]))
            await asyncio.to_thread(stop)
            await work()
            await until(partial(more, "outages", seen["outages"]))
            await asyncio.to_thread(postgres_server.start)
        await until(partial(more, "reads", seen["reads"]))

        async def recorded() -> bool:
            return not await store.recording.last_id()

        await until(recorded)
        assert not any(reader.done() for reader in readers)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    assert await history(catalogue) == ended[::-1]
    assert len(await saved(catalogue)) == len(ended)
    await catalogue.close()


async def test_the_running_recorder_is_woken_up(store: Store, catalogue: Catalogue) -> None:
    async with catalogue.running():
        claimed = await planned(store, item(0))
        await claimed.finish(Status.COMPLETED)

        async def recorded() -> bool:
            return not await store.recording.last_id()

        await until(recorded)
        assert [task.id for task in await catalogue.history.get_many([claimed.task.id])] == [claimed.task.id]


async def test_the_history_of_a_version_without_a_catalogue_is_adopted(
    store: Store, catalogue: Catalogue
) -> None:
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0)])
    await store.db.do("DEL", "sa:record")
    for key in ("sa:history", "sa:history:status:completed", "sa:history:user:7"):
        await store.db.do("ZADD", key, 1, claimed.task.id)
    assert await history(catalogue) == [claimed.task.id]
    assert await saved(catalogue) == [("file0.mp4", 7)]
    assert await store.db.do("KEYS", "sa:history*") == []


async def test_old_tasks_are_forgotten(store: Store, tmp_path: Path, patient: None) -> None:
    catalogue = Catalogue("", tmp_path, store, keep_days=2)
    old, new = await planned(store, item(0)), await planned(store, item(1))
    for claimed in (old, new):
        await claimed.finish(Status.COMPLETED)
    await store.db.do("HINCRBY", f"sa:task:{old.task.id}", "finished_at", -3 * 24 * 3600 * 1000)
    await catalogue.recorder.catch_up()
    await catalogue.forget_old()
    assert await history(catalogue) == [new.task.id]
    assert not await store.tasks.exists(old.task.id)
    await catalogue.close()


async def test_too_many_tasks_that_cannot_leave_redis_yet_do_not_stop_the_recorder(
    store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example while the receiver of all their webhooks is down."""
    monkeypatch.setattr("saveany.store.recording._MAX_KEPT", 0)
    monkeypatch.setattr("saveany.store.recording._BATCH", 1)
    kept = []
    for n in range(2):
        claimed = await planned(store, item(n))
        await claimed.finish(Status.COMPLETED, deliveries=[delivery(claimed.task.id)])
        kept.append(claimed.task.id)
    sent = await planned(store, item(2))
    await sent.finish(Status.COMPLETED)
    await catalogue.recorder.catch_up()

    async def has_left() -> bool:
        async with asyncio.timeout(20):
            await store.recording.expire()
        return not await store.tasks.exists(sent.task.id)

    await until(has_left)
    assert [await store.tasks.exists(each) for each in kept] == [True, True]
