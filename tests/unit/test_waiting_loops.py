"""Loops that wait for the store, and attempts that become less frequent."""

from __future__ import annotations

import asyncio
import time

import pytest

from saveany.errors import StoreDamaged, StoreUnavailable
from saveany.loops import to_full_second, until_done, wait_for_store


class Replies:
    """A call that raises the given errors, one after the other, and then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    async def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "done"


async def test_the_store_is_awaited_through_outages_and_damage() -> None:
    assert await wait_for_store("x", Replies(StoreUnavailable(), StoreDamaged()), 0) == "done"


async def test_other_errors_are_raised_while_the_store_is_awaited() -> None:
    with pytest.raises(ZeroDivisionError):
        await wait_for_store("x", Replies(StoreUnavailable(), ZeroDivisionError()), 0)


def test_loops_wake_up_at_full_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.25)
    waits = [to_full_second(seconds) for seconds in (0.0, 0.5, 1.0, 2.0, 2.5)]
    assert waits == [0.0, 0.5, 0.75, 1.75, 2.75]


async def test_attempts_become_less_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await really(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    fails = [ZeroDivisionError() for _ in range(5)]
    assert await until_done("x", Replies(*fails), 1, max_pause=5) == "done"
    assert pauses == [1, 2, 4, 5, 5]
    pauses.clear()
    assert await until_done("x", Replies(*fails[:3]), 1) == "done"
    assert pauses == [1, 1, 1]
