"""How many parts are asked for at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.telegram.flow import FairSemaphore, Window
from tests.integration.telegram.conftest import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(depth: Window, clock: Clock, speeds: dict[int, float], seconds: int) -> list[int]:
    """The depths while parts arrive, at a speed that follows from the depth."""
    seen = [depth.now]
    for _ in range(seconds * 10):
        clock.now += 0.1
        depth.answered(int(speeds[depth.now] / 10))
        if depth.now != seen[-1]:
            seen.append(depth.now)
    return seen


def test_it_grows_while_that_gains() -> None:
    clock = Clock()
    assert run(Window(2, 4, clock), clock, {2: 20e6, 3: 30e6, 4: 40e6}, 10) == [2, 3, 4]


def test_it_goes_back_when_more_gains_nothing() -> None:
    clock = Clock()
    assert run(Window(2, 4, clock), clock, {2: 48e6, 3: 48e6, 4: 48e6}, 20) == [2, 3, 2]


def test_it_looks_again_after_a_while() -> None:
    clock = Clock()
    depth = Window(2, 4, clock)
    run(depth, clock, {2: 48e6, 3: 48e6}, 10)
    assert run(depth, clock, {2: 20e6, 3: 40e6, 4: 40e6}, 50)[:2] == [2, 3]


def test_it_does_not_grow_for_one_who_is_slower_than_the_connections() -> None:
    clock = Clock()
    depth = Window(2, 4, clock)
    for _ in range(100):
        clock.now += 0.1
        depth.answered(1 << 20, idle=True)
        assert depth.now == 2


def test_trouble_halves_it_at_once_and_what_comes_together_counts_once() -> None:
    clock = Clock()
    depth = Window(4, 4, clock)
    for _ in range(16):
        depth.trouble()
    assert depth.now == 2
    clock.now += 2
    depth.trouble()
    assert depth.now == 1
    clock.now += 2
    depth.trouble()
    assert depth.now == 1


def test_after_trouble_it_rests_then_grows_again() -> None:
    clock = Clock()
    depth = Window(2, 4, clock)
    depth.trouble()
    speeds = {1: 10e6, 2: 20e6, 3: 20e6}
    assert run(depth, clock, speeds, 20) == [1]
    assert run(depth, clock, speeds, 20) == [1, 2, 3, 2]


def test_idle_time_is_no_lack_of_speed() -> None:
    clock = Clock()
    depth = Window(2, 4, clock)
    for _ in range(20):
        clock.now += 60
        depth.answered(1 << 20)
    assert depth.now == 2


@given(
    first=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1 << 20), st.booleans())),
)
def test_it_stays_in_its_bounds(first: int, steps: list[tuple[float, int, bool]]) -> None:
    clock = Clock()
    depth = Window(first, 4, clock)
    for seconds, size, trouble in steps:
        clock.now += seconds
        if trouble:
            depth.trouble()
        else:
            depth.answered(size)
        assert 1 <= depth.now <= 4


async def test_turns_are_given_in_order_and_never_more_than_the_depth() -> None:
    turns = FairSemaphore(lambda: 2)
    gates = [asyncio.Event() for _ in range(6)]
    inside: list[int] = []

    async def user(number: int) -> None:
        async with turns.turn():
            inside.append(number)
            await gates[number].wait()

    users = [asyncio.create_task(user(number)) for number in range(6)]
    await until(lambda: turns.wanted == 6)
    assert inside == [0, 1]
    users[2].cancel()  # one that waits
    users[0].cancel()  # one that is inside
    await until(lambda: len(inside) == 3)
    assert inside == [0, 1, 3]
    for gate in gates:
        gate.set()
    await asyncio.gather(*users, return_exceptions=True)
    assert inside == [0, 1, 3, 4, 5]
    assert turns.wanted == 0


async def test_a_turn_given_to_one_who_left_goes_to_the_next() -> None:
    turns = FairSemaphore(lambda: 1)
    done: list[int] = []

    async def user(number: int) -> None:
        async with turns.turn():
            done.append(number)

    async with turns.turn():
        users = [asyncio.create_task(user(number)) for number in range(2)]
        await until(lambda: turns.wanted == 3)
    users[0].cancel()  # its turn has come, but it has not noticed yet
    with pytest.raises(asyncio.CancelledError):
        await users[0]
    await asyncio.wait_for(users[1], 5)
    assert done == [1]


async def test_nobody_overtakes_those_that_wait() -> None:
    """One who gives a turn back and wants another one at once has to wait like all."""
    turns = FairSemaphore(lambda: 1)
    order: list[str] = []

    async def again_and_again() -> None:
        for _ in range(3):
            async with turns.turn():
                order.append("often")
                await asyncio.sleep(0)

    async def once() -> None:
        async with turns.turn():
            order.append("once")

    await asyncio.gather(again_and_again(), once())
    assert order == ["often", "once", "often", "often"]


async def test_urgent_ones_go_first_and_one_of_them_beside_the_others() -> None:
    turns = FairSemaphore(lambda: 2)
    gates = {name: asyncio.Event() for name in "abcdxyz"}
    inside: list[str] = []

    async def user(name: str) -> None:
        async with turns.turn(urgent=name in "xyz"):
            inside.append(name)
            await gates[name].wait()

    users = [asyncio.create_task(user(name)) for name in gates]
    await until(lambda: turns.wanted == len(gates))
    assert inside == ["a", "b", "x"]
    for step, (leaves, comes) in enumerate([("a", "y"), ("b", "z"), ("x", ""), ("y", "c"), ("z", "d")]):
        gates[leaves].set()
        await asyncio.wait([users["abcdxyz".index(leaves)]])
        await asyncio.sleep(0)
        assert inside[3:] == list("yzcd"[: [1, 2, 2, 3, 4][step]]), comes
    for gate in gates.values():
        gate.set()
    await asyncio.gather(*users)
