"""Watched chats in the store."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from saveany.store import Store
from saveany.store.archives import Archive
from saveany.texts import Text, loaded

WATCH = Archive(
    id="w1",
    user_id=1,
    chat=-1001600000001,
    title="News",
    account="me",
    seen=5,
    created_at=2,
    filter={"name": "x"},
)


@pytest.fixture(autouse=True)
async def watch(store: Store) -> None:
    await store.archives.add(WATCH)


async def test_a_watch_is_read_as_stored(store: Store) -> None:
    older = replace(WATCH, id="w0", user_id=7, created_at=1, username="news")
    await store.archives.add(older)
    assert await store.archives.all() == [older, WATCH]
    assert await store.archives.of_user(1) == [WATCH]
    assert await store.archives.get("w0") == older
    assert (older.name, WATCH.name) == ("@news", "-1001600000001")


async def test_the_position_never_goes_back(store: Store) -> None:
    for seen, kept in ((9, 9), (7, 9), (9, 9), (12, 12)):
        now = await store.archives.advance("w1", seen)
        assert now is not None
        assert now.seen == kept
        assert await store.archives.get("w1") == now


def _filtered(number: int, watch: Archive) -> Archive:
    return replace(watch, filter={**watch.filter, f"{number}": 1})


async def test_simultaneous_changes_are_all_kept(store: Store) -> None:
    await asyncio.gather(
        *(store.archives.advance("w1", seen) for seen in range(30)),
        *(store.archives.set_problem("w1", Text(f"problem {n}"), n + 1) for n in range(30)),
        *(store.archives.change("w1", partial(_filtered, n)) for n in range(30)),
    )
    now = await store.archives.get("w1")
    assert now is not None
    assert now.seen == 29
    assert len(now.filter) == 31
    assert now.problem_since > 0


async def test_a_removed_watch_is_not_restored_by_later_changes(store: Store) -> None:
    await store.archives.remove("w1")
    assert await store.archives.advance("w1", 9) is None
    await store.archives.set_problem("w1", Text("gone"), 1)
    assert await store.archives.all() == []
    assert await store.archives.get("w1") is None


async def test_the_start_of_a_problem_is_kept(store: Store) -> None:
    for problem, at, since in (
        (Text("a"), 10, 10),
        (Text("{b}", {"b": "b"}), 20, 10),
        (None, 30, 0),
        (Text("c"), 40, 40),
    ):
        await store.archives.set_problem("w1", problem, at)
        now = await store.archives.get("w1")
        assert now is not None
        assert (loaded(now.problem), now.problem_since) == (problem, since)
