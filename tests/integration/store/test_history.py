"""Pages of the history, in a real Valkey."""

from __future__ import annotations

import pytest

from saveany.errors import InvalidInput
from saveany.models import Status
from saveany.store import HistoryFilter, Store
from tests.integration.store.test_lifecycle import accept, claim


async def end_tasks(store: Store, count: int) -> list[str]:
    """End `count` tasks, alternating users and outcomes; newest first."""
    ids = []
    for n in range(count):
        ids.append(await accept(store, user_id=n % 2, storage="local1"))
        failed = n % 3 == 0
        await (await claim(store)).finish(Status.FAILED if failed else Status.COMPLETED, f"no {n}" * failed)
    return ids[::-1]


async def pages(store: Store, wanted: HistoryFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = await store.history.page(wanted, limit, cursor)
        assert len(page.tasks) <= limit
        found += [task.id for task in page.tasks]
        cursor = page.cursor
        if not cursor:
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_all_pages_together_contain_each_task_once(store: Store, limit: int) -> None:
    ids = await end_tasks(store, 20)
    # Tasks that end within one millisecond are ordered by id.
    await store.db.many([("ZADD", "sa:history", "XX", 5_000, i) for i in ids[3:12]])
    found = await pages(store, HistoryFilter(), limit)
    assert sorted(found) == sorted(ids)
    assert found[:3] == ids[:3]


async def test_filters_work_alone_and_combined(store: Store) -> None:
    ids = await end_tasks(store, 12)
    by_index = list(enumerate(ids[::-1]))
    failed = [i for n, i in by_index if n % 3 == 0][::-1]
    odd = [i for n, i in by_index if n % 2 == 1][::-1]
    assert await pages(store, HistoryFilter(status="failed"), 2) == failed
    assert await pages(store, HistoryFilter(user_id=1), 2) == odd
    assert await pages(store, HistoryFilter(status="failed", user_id=1), 1) == [i for i in odd if i in failed]
    assert await pages(store, HistoryFilter(q="NO 3"), 5) == [by_index[3][1]]
    assert await pages(store, HistoryFilter(storage="other"), 5) == []


async def test_a_time_window_is_half_open(store: Store) -> None:
    (task_id,) = await end_tasks(store, 1)
    task = await store.tasks.get(task_id)
    assert task is not None
    assert task.finished_at is not None
    ended = task.finished_at
    assert await pages(store, HistoryFilter(since=ended, until=ended + 1), 5) == [task_id]
    assert await pages(store, HistoryFilter(until=ended), 5) == []
    assert await pages(store, HistoryFilter(since=ended + 1), 5) == []


async def test_a_search_for_rare_tasks_returns_early_with_a_cursor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.store.history.MAX_EXAMINED", 4)
    monkeypatch.setattr("saveany.store.history.BATCH", 2)
    ids = await end_tasks(store, 12)
    page = await store.history.page(HistoryFilter(q="no 0"), 5)
    assert (page.tasks, bool(page.cursor)) == ([], True)
    assert await pages(store, HistoryFilter(q="no 0"), 5) == [ids[-1]]


@pytest.mark.parametrize("cursor", ["x", "1", "-", "1-", "1-../x", "9" * 30 + "-a"])
async def test_an_invalid_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await store.history.page(HistoryFilter(), 5, cursor)
