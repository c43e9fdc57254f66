"""The number of parts requested at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.telegram.flow import FairSemaphore, Window
from tests.fixtures.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(window: Window, clock: Clock, speeds: dict[int, float], seconds: int) -> list[int]:
    """The sizes of the window while parts arrive at a speed that depends on the size."""
    seen = [window.size]
    for _ in range(seconds * 10):
        clock.now += 0.1
        window.on_part(int(speeds[window.size] / 10))
        if window.size != seen[-1]:
            seen.append(window.size)
    return seen


def test_the_window_grows_while_the_speed_grows() -> None:
    clock = Clock()
    assert run(Window(2, 4, clock), clock, {2: 20e6, 3: 30e6, 4: 40e6}, 10) == [2, 3, 4]


def test_the_window_shrinks_if_a_larger_one_is_not_faster() -> None:
    clock = Clock()
    assert run(Window(2, 4, clock), clock, {2: 48e6, 3: 48e6, 4: 48e6}, 20) == [2, 3, 2]


def test_a_settled_window_is_tested_again_after_a_while() -> None:
    clock = Clock()
    window = Window(2, 4, clock)
    run(window, clock, {2: 48e6, 3: 48e6}, 10)
    assert run(window, clock, {2: 20e6, 3: 40e6, 4: 40e6}, 50)[:2] == [2, 3]


def test_the_window_does_not_grow_for_a_slow_consumer() -> None:
    clock = Clock()
    window = Window(2, 4, clock)
    for _ in range(100):
        clock.now += 0.1
        window.on_part(1 << 20, idle=True)
        assert window.size == 2


def test_failures_halve_the_window_and_simultaneous_ones_count_once() -> None:
    clock = Clock()
    window = Window(4, 4, clock)
    for _ in range(16):
        window.on_failure()
    assert window.size == 2
    clock.now += 2
    window.on_failure()
    assert window.size == 1
    clock.now += 2
    window.on_failure()
    assert window.size == 1


def test_after_a_failure_the_window_rests_then_grows_again() -> None:
    clock = Clock()
    window = Window(2, 4, clock)
    window.on_failure()
    speeds = {1: 10e6, 2: 20e6, 3: 20e6}
    assert run(window, clock, speeds, 20) == [1]
    assert run(window, clock, speeds, 20) == [1, 2, 3, 2]


def test_idle_time_does_not_count_as_low_speed() -> None:
    clock = Clock()
    window = Window(2, 4, clock)
    for _ in range(20):
        clock.now += 60
        window.on_part(1 << 20)
    assert window.size == 2


@given(
    first=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1 << 20), st.booleans())),
)
def test_the_window_stays_within_its_bounds(first: int, steps: list[tuple[float, int, bool]]) -> None:
    clock = Clock()
    window = Window(first, 4, clock)
    for seconds, size, trouble in steps:
        clock.now += seconds
        if trouble:
            window.on_failure()
        else:
            window.on_part(size)
        assert 1 <= window.size <= 4


async def test_slots_are_assigned_in_order_and_within_the_capacity() -> None:
    semaphore = FairSemaphore(lambda: 2)
    gates = [asyncio.Event() for _ in range(6)]
    inside: list[int] = []

    async def user(number: int) -> None:
        async with semaphore.slot():
            inside.append(number)
            await gates[number].wait()

    users = [asyncio.create_task(user(number)) for number in range(6)]
    await until(lambda: semaphore.demand == 6)
    assert inside == [0, 1]
    users[2].cancel()  # one that waits
    users[0].cancel()  # one that is inside
    await until(lambda: len(inside) == 3)
    assert inside == [0, 1, 3]
    for gate in gates:
        gate.set()
    await asyncio.gather(*users, return_exceptions=True)
    assert inside == [0, 1, 3, 4, 5]
    assert semaphore.demand == 0


async def test_slots_of_different_sizes_share_the_capacity() -> None:
    semaphore = FairSemaphore(lambda: 10)
    sizes = {"a": 4, "b": 5, "c": 8, "d": 1}
    gates = {name: asyncio.Event() for name in sizes}
    inside: list[str] = []

    async def user(name: str) -> None:
        async with semaphore.slot(sizes[name]):
            inside.append(name)
            await gates[name].wait()

    users = [asyncio.create_task(user(name)) for name in sizes]
    await until(lambda: semaphore.demand == sum(sizes.values()))
    assert inside == ["a", "b", "c"], "the last one may exceed the capacity"
    gates["a"].set()
    await asyncio.wait([users[0]])
    assert inside == ["a", "b", "c"], "these have more than the capacity"
    gates["b"].set()
    await until(lambda: inside == ["a", "b", "c", "d"])
    for gate in gates.values():
        gate.set()
    await asyncio.gather(*users)
    assert semaphore.demand == 0


async def test_the_slot_of_a_canceled_waiter_goes_to_the_next() -> None:
    semaphore = FairSemaphore(lambda: 1)
    done: list[int] = []

    async def user(number: int) -> None:
        async with semaphore.slot():
            done.append(number)

    async with semaphore.slot():
        users = [asyncio.create_task(user(number)) for number in range(2)]
        await until(lambda: semaphore.demand == 3)
    users[0].cancel()  # its turn has come, but it has not noticed yet
    with pytest.raises(asyncio.CancelledError):
        await users[0]
    await asyncio.wait_for(users[1], 5)
    assert done == [1]


async def test_a_new_request_does_not_overtake_waiters() -> None:
    """A task that releases a slot and requests another one goes to the end of the queue."""
    semaphore = FairSemaphore(lambda: 1)
    order: list[str] = []

    async def again_and_again() -> None:
        for _ in range(3):
            async with semaphore.slot():
                order.append("often")
                await asyncio.sleep(0)

    async def once() -> None:
        async with semaphore.slot():
            order.append("once")

    await asyncio.gather(again_and_again(), once())
    assert order == ["often", "once", "often", "often"]


async def test_urgent_requests_without_end_leave_slots_for_the_others() -> None:
    semaphore = FairSemaphore(lambda: 2)
    order: list[str] = []

    async def user(name: str, *, urgent: bool) -> None:
        for _ in range(20):
            async with semaphore.slot(urgent=urgent):
                order.append(name)
                await asyncio.sleep(0)

    users = [user("small", urgent=True) for _ in range(6)] + [user("big", urgent=False)]
    await asyncio.gather(*users)
    assert order.count("big") == 20
    assert 10 <= order[:100].count("big") <= 30


async def test_urgent_waiters_go_first_and_one_may_exceed_the_capacity() -> None:
    semaphore = FairSemaphore(lambda: 2)
    gates = {name: asyncio.Event() for name in "abcdxyz"}
    inside: list[str] = []

    async def user(name: str) -> None:
        async with semaphore.slot(urgent=name in "xyz"):
            inside.append(name)
            await gates[name].wait()

    users = [asyncio.create_task(user(name)) for name in gates]
    await until(lambda: semaphore.demand == len(gates))
    assert inside == ["a", "b", "x"]
    for step, (leaves, comes) in enumerate([("a", "y"), ("b", "z"), ("x", ""), ("y", "c"), ("z", "d")]):
        gates[leaves].set()
        await asyncio.wait([users["abcdxyz".index(leaves)]])
        await asyncio.sleep(0)
        assert inside[3:] == list("yzcd"[: [1, 2, 2, 3, 4][step]]), comes
    for gate in gates.values():
        gate.set()
    await asyncio.gather(*users)
