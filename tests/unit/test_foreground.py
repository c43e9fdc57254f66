"""Short work goes before what keeps the event loop busy."""

from __future__ import annotations

import asyncio

from saveany.foreground import Foreground

HOUR = 3600.0


async def turns(foreground: Foreground, number: int = 1) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(foreground.turn() for _ in range(number)))


async def settled() -> None:
    """Let everything run that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_waits_if_there_is_no_short_work() -> None:
    foreground = Foreground(HOUR, HOUR)
    with foreground.work():
        pass
    await turns(foreground)


async def test_a_turn_waits_for_all_short_work() -> None:
    foreground = Foreground(HOUR, HOUR)
    with foreground.work():
        with foreground.work():
            turn = asyncio.ensure_future(foreground.turn())
            await settled()
        await settled()
        assert not turn.done()
    await asyncio.wait_for(turn, 10)


async def test_work_that_begins_later_is_waited_for() -> None:
    foreground = Foreground(HOUR, HOUR)
    with foreground.work():
        turn = asyncio.ensure_future(foreground.turn())
        await settled()
        with foreground.work():
            await settled()
        await settled()
        assert not turn.done()
    await asyncio.wait_for(turn, 10)


async def test_short_work_without_end_holds_nothing_up() -> None:
    foreground = Foreground(0.001, HOUR)
    with foreground.work():
        await turns(foreground, 5)


async def test_long_work_holds_nothing_up() -> None:
    foreground = Foreground(HOUR, 0.0)
    with foreground.work():
        await turns(foreground, 5)


async def test_between_two_turns_runs_what_is_ready() -> None:
    foreground, ran = Foreground(), list[str]()

    async def busy(name: str) -> None:
        await foreground.turn()
        ran.append(name)
        asyncio.get_running_loop().call_soon(ran.append, "ready")

    await asyncio.gather(busy("first"), busy("second"))
    assert ran[:3] == ["first", "ready", "second"]


async def test_who_stops_waiting_leaves_the_turn_to_the_next() -> None:
    foreground = Foreground(HOUR, HOUR)
    with foreground.work():
        first, second = (asyncio.ensure_future(foreground.turn()) for _ in range(2))
        await settled()
        first.cancel()
        await asyncio.wait([first])
    await asyncio.wait_for(second, 10)
