"""The catalogue that `make bench` fills for the history has records that can be read."""

from __future__ import annotations

from bench.history import filled_catalogue
from saveany.catalogue import HistoryFilter


async def test_the_filled_catalogue_has_the_records_of_a_real_task() -> None:
    async with filled_catalogue(20) as catalogue:
        page = await catalogue.history.page(HistoryFilter(), 50)
        assert len(page.tasks) == 21
        assert {task.spec.type for task in page.tasks} == {"tgfiles"}
