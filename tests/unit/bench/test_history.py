"""The store that `make bench` fills for the history has the same records as a real one."""

from __future__ import annotations

from bench.history import filled_store
from saveany.store.history import HistoryFilter


async def test_the_filled_store_has_the_records_of_a_real_one() -> None:
    async with filled_store(20) as store:  # it compares a record with one that went through the store
        assert len((await store.history.page(HistoryFilter(), 50)).tasks) == 21
