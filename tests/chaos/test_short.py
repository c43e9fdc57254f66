"""The short form of `make chaos`, one test per scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.installation import Plan
from tests.chaos.scenarios import SCENARIOS

_SEED = 20260


@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_file_is_lost_duplicated_or_corrupt(name: str, tmp_path: Path) -> None:
    result = await SCENARIOS[name](Plan(long=False, seed=_SEED, folder=tmp_path))
    print(result)
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.passed, str(result)
