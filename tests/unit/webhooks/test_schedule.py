"""The retry schedule, in seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.webhooks.schedule import delay_s

MINUTE, HOUR = 60, 3600
SCHEDULE = [5, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24))]


def test_ten_attempts_have_the_documented_delays() -> None:
    assert [delay_s(failed, lambda: 0.5) for failed in range(1, 11)] == [*SCHEDULE, None]


@given(chance=st.floats(0, 1, exclude_max=True), failed=st.integers(1, 9))
def test_jitter_is_ten_percent(chance: float, failed: int) -> None:
    delay = delay_s(failed, lambda: chance)
    assert delay == pytest.approx(SCHEDULE[failed - 1], rel=0.1 + 1e-9)


def test_jitter_is_random() -> None:
    assert len({delay_s(1) for _ in range(20)}) > 1
