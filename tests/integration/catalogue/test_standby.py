"""A bot runs the catalogue while no API process does."""

from __future__ import annotations

from pathlib import Path

import pytest

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.standby import StandbyCatalogue
from saveany.config import Config
from saveany.models import Status
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.store.test_lifecycle import accept, claim


@pytest.fixture
def standby(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandbyCatalogue:
    monkeypatch.setattr("saveany.catalogue.standby._CHECK_SECONDS", 0.1)
    return StandbyCatalogue(Config.model_validate({"data_dir": str(tmp_path / "data")}), store)


async def is_recorded(store: Store) -> bool:
    return not (await store.recording.waiting()).count


async def test_it_records_if_no_other_process_does(store: Store, standby: StandbyCatalogue) -> None:
    async with standby.running():
        await accept(store)
        await (await claim(store)).finish(Status.COMPLETED)
        await until(lambda: is_recorded(store), within=20, what="record of the task")
    await standby.close()


async def test_it_waits_while_another_process_records(
    store: Store, standby: StandbyCatalogue, tmp_path: Path
) -> None:
    database = tmp_path / "data/catalogue.db"
    await store.recording.serve()
    async with standby.running():
        await accept(store)
        await (await claim(store)).finish(Status.COMPLETED)
        await until(lambda: _was_asked(store), within=20, what="a check")
        assert not database.exists()
        assert not await is_recorded(store)
        found = await standby.history.page(HistoryFilter())  # its first use
        assert len(found.tasks) == 1
    await standby.close()


async def test_an_api_lets_others_know_that_it_records(store: Store, any_catalogue: Catalogue) -> None:
    assert not await store.recording.is_served()
    async with any_catalogue.running():
        await until(store.recording.is_served, within=20, what="sign of life")


async def _was_asked(store: Store) -> bool:
    """Whether somebody has looked for a process that runs the catalogue, at least twice."""
    stats = await store.db.info("commandstats")
    return int(stats.get("cmdstat_exists", {"calls": 0})["calls"]) >= 2
