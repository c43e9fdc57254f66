"""`Signal`, by which loops of a process learn that they must check something."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from saveany.loops import Signal


async def started(*waits: asyncio.Task[Any]) -> None:
    for _ in waits:
        await asyncio.sleep(0)


async def test_it_ends_all_waits() -> None:
    signal = Signal()
    waits = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await started(*waits)
    signal.send()
    signal.send()
    await asyncio.gather(*waits)


async def test_a_wait_ends_after_its_time() -> None:
    await Signal().wait(0)


async def test_a_signal_that_was_sent_meanwhile_is_not_missed() -> None:
    signal = Signal()
    before = signal.count
    signal.send()
    await signal.wait(since=before)


async def test_it_cancels_what_a_block_waits_for() -> None:
    signal, held = Signal(), asyncio.Event()

    async def work() -> str:
        async with signal.interrupts():
            try:
                await asyncio.Event().wait()
            finally:
                held.set()
        return "went on"

    working = asyncio.create_task(work())
    await started(working)
    signal.send()
    assert await working == "went on"
    assert held.is_set()


async def test_errors_and_cancellations_of_a_block_are_kept() -> None:
    signal = Signal()
    with pytest.raises(TimeoutError, match="mine"):
        async with signal.interrupts(3600):
            raise TimeoutError("mine")
    waiting = asyncio.create_task(signal.wait())
    await started(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
