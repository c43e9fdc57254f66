"""The short form of `make chaos`, one test per scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.arena import Plan
from tests.chaos.scenarios import SCENARIOS

_SEED = 20260


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_is_lost_doubled_or_corrupt(name: str, tmp_path: Path) -> None:
    tally = await SCENARIOS[name](Plan(long=False, seed=_SEED, folder=tmp_path))
    print(tally)
    if tally.skipped:
        pytest.skip(tally.skipped)
    assert tally.good, str(tally)
