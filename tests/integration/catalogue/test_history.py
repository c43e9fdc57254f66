"""Pages of the history, on both engines."""

from __future__ import annotations

import pytest

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.errors import InvalidInput
from saveany.models import Status
from saveany.store import Store
from tests.integration.store.test_lifecycle import accept, claim


async def end_tasks(store: Store, count: int) -> list[str]:
    """End `count` tasks, alternating users and outcomes; newest first."""
    ids = []
    for n in range(count):
        ids.append(await accept(store, user_id=n % 2, storage="local1"))
        failed = n % 3 == 0
        await (await claim(store)).finish(Status.FAILED if failed else Status.COMPLETED, f"no {n}" * failed)
    return ids[::-1]


async def pages(catalogue: Catalogue, wanted: HistoryFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = await catalogue.history.page(wanted, limit, cursor)
        assert len(page.tasks) <= limit
        found += [task.id for task in page.tasks]
        cursor = page.cursor
        if not cursor:
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_all_pages_together_contain_each_task_once(
    store: Store, any_catalogue: Catalogue, limit: int
) -> None:
    ids = await end_tasks(store, 20)
    # Tasks that end within one millisecond are ordered by id.
    await store.db.many([("HSET", f"sa:task:{i}", "finished_at", 5_000) for i in ids[3:12]])
    found = await pages(any_catalogue, HistoryFilter(), limit)
    assert sorted(found) == sorted(ids)
    assert found[:3] == ids[:3]


async def test_filters_work_alone_and_combined(store: Store, any_catalogue: Catalogue) -> None:
    ids = await end_tasks(store, 12)
    by_index = list(enumerate(ids[::-1]))
    failed = [i for n, i in by_index if n % 3 == 0][::-1]
    odd = [i for n, i in by_index if n % 2 == 1][::-1]
    assert await pages(any_catalogue, HistoryFilter(status="failed"), 2) == failed
    assert await pages(any_catalogue, HistoryFilter(user_id=1), 2) == odd
    assert await pages(any_catalogue, HistoryFilter(status="failed", user_id=1), 1) == [
        i for i in odd if i in failed
    ]
    assert await pages(any_catalogue, HistoryFilter(q="NO 3"), 5) == [by_index[3][1]]
    assert await pages(any_catalogue, HistoryFilter(storage="other"), 5) == []


async def test_a_time_window_is_half_open(store: Store, any_catalogue: Catalogue) -> None:
    (task_id,) = await end_tasks(store, 1)
    task = await store.tasks.get(task_id)
    assert task is not None
    assert task.finished_at is not None
    ended = task.finished_at
    assert await pages(any_catalogue, HistoryFilter(since=ended, until=ended + 1), 5) == [task_id]
    assert await pages(any_catalogue, HistoryFilter(until=ended), 5) == []
    assert await pages(any_catalogue, HistoryFilter(since=ended + 1), 5) == []


async def test_a_search_finds_rare_tasks_by_the_index_and_common_ones_without_it(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.catalogue.listing._FIRST", 4)
    ids = await end_tasks(store, 12)
    assert await pages(any_catalogue, HistoryFilter(q="no 0"), 5) == [ids[-1]]
    assert await pages(any_catalogue, HistoryFilter(q="0"), 5) == [ids[-1]]  # too short for the index
    failed = [i for n, i in enumerate(ids[::-1]) if n % 3 == 0][::-1]
    assert await pages(any_catalogue, HistoryFilter(q="NO "), 1) == failed


@pytest.mark.parametrize("query", ["0", "no 0", "no 3"])
async def test_a_search_that_would_take_long_has_short_pages(
    store: Store, any_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr("saveany.catalogue.listing._FIRST", 2)
    monkeypatch.setattr("saveany.catalogue.listing._MOST", 5)
    monkeypatch.setattr("saveany.catalogue.listing._MAX_FOUND", 0)
    ids = (await end_tasks(store, 12))[::-1]
    wanted = HistoryFilter(q=query)
    first = await any_catalogue.history.page(wanted, 5)
    assert first.tasks == []
    assert first.cursor
    assert await pages(any_catalogue, wanted, 5) == [ids[int(query[-1])]]


@pytest.mark.parametrize("cursor", ["x", "1", "-", "1-", "1-../x", "9" * 30 + "-a"])
async def test_an_invalid_cursor_is_refused(any_catalogue: Catalogue, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await any_catalogue.history.page(HistoryFilter(), 5, cursor)
