"""Paths that tasks reserve where a storage cannot refuse a used name."""

from __future__ import annotations

import pytest

from saveany.models import Status
from saveany.store import Store
from tests.integration.store.test_lifecycle import accept, claim


async def test_a_path_is_reserved_for_one_item_until_released(store: Store) -> None:
    for _ in range(2):
        await accept(store)
    one, other = await claim(store), await claim(store, "w2")
    assert await one.reserve_name(0, "local1", "a.bin")
    assert await one.reserve_name(0, "local1", "a.bin")
    assert not await one.reserve_name(1, "local1", "a.bin")
    assert not await other.reserve_name(0, "local1", "a.bin")
    assert await other.reserve_name(0, "local1", "b.bin")
    await other.release_name(0, "local1", "a.bin")  # not its own
    assert not await other.reserve_name(0, "local1", "a.bin")
    await one.release_name(0, "local1", "a.bin")
    assert await other.reserve_name(0, "local1", "a.bin")


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELED])
async def test_paths_of_an_ended_task_are_free(store: Store, status: Status) -> None:
    for _ in range(2):
        await accept(store)
    one, other = await claim(store), await claim(store, "w2")
    assert await one.reserve_name(0, "local1", "a.bin")
    await one.finish(status)
    assert await other.reserve_name(0, "local1", "a.bin")


async def test_a_waiting_task_keeps_its_path(store: Store) -> None:
    for _ in range(2):
        await accept(store)
    one, other = await claim(store), await claim(store, "w2")
    assert await one.reserve_name(3, "local1", "a.bin")
    await one.release()
    assert not await other.reserve_name(3, "local1", "a.bin")
    assert await (await claim(store, "w3")).reserve_name(3, "local1", "a.bin")
