"""The delivery loop with an outbox in memory and scripted senders."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from saveany.models import Delivery
from saveany.webhooks import deliver
from saveany.webhooks.deliver import PER_HOST, deliver_forever
from saveany.webhooks.send import Delivered, GiveUp, Outcome, Retry
from tests.fixtures.waiting import until


def delivery(id_: str, host: str = "example.com", attempts: int = 0) -> Delivery:
    return Delivery(
        id=id_, task_id="t", event="task.completed", url=f"http://{host}/", body="{}", attempts=attempts
    )


class MemoryOutbox:
    """An outbox with endless leases that records calls."""

    def __init__(self, *due: Delivery) -> None:
        self.due = list(due)
        self.claimed: list[str] = []
        self.settled: dict[str, tuple[str | int, ...]] = {}
        self.news = asyncio.Event()

    async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
        taken, self.due = self.due[:limit], self.due[limit:]
        self.claimed += [delivery.id for delivery in taken]
        return taken

    async def settle(self, delivery: Delivery, state: str, status: int, error: str) -> None:
        self._note(delivery, state, status, error)

    async def retry(self, delivery: Delivery, after_ms: int, status: int, error: str) -> None:
        self._note(delivery, "retry", after_ms, status, error)

    async def wait(self, timeout: float) -> None:
        await self.news.wait()
        self.news.clear()

    def _note(self, delivery: Delivery, *outcome: str | int) -> None:
        self.settled[delivery.id] = outcome

    def add(self, *due: Delivery) -> None:
        self.due += due
        self.news.set()


class FakeSender:
    """Replies with `reply(delivery)`; counts simultaneous deliveries, in total and per host."""

    def __init__(self, reply: Callable[[Delivery], Awaitable[Outcome]]) -> None:
        self._reply = reply
        self._now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        assert now_ms > 1_700_000_000_000
        for key in ("all", delivery.url):
            self._now[key] += 1
            self.most[key] = max(self.most[key], self._now[key])
        try:
            return await self._reply(delivery)
        finally:
            self._now.subtract(["all", delivery.url])


async def ok(_: Delivery) -> Outcome:
    await asyncio.sleep(0)
    return Delivered(200)


@asynccontextmanager
async def running(
    outbox: deliver.DeliveryQueue, sender: FakeSender, concurrency: int = 8
) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(deliver_forever(outbox, sender, stop, concurrency))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def test_each_outcome_is_recorded() -> None:
    outcomes: dict[str, Outcome] = {
        "a": Delivered(204),
        "b": GiveUp(410, "gone"),
        "c": Retry(5.25, 500, "the receiver responded 500"),
    }

    async def reply(delivery: Delivery) -> Outcome:
        return outcomes[delivery.id]

    outbox = MemoryOutbox(*map(delivery, "abc"))
    async with running(outbox, FakeSender(reply)):
        await until(lambda: len(outbox.settled) == 3)
    assert outbox.settled == {
        "a": ("delivered", 204, ""),
        "b": ("gave_up", 410, "gone"),
        "c": ("retry", 5250, 500, "the receiver responded 500"),
    }


async def test_later_deliveries_are_sent_too() -> None:
    outbox = MemoryOutbox()
    async with running(outbox, FakeSender(ok)):
        for number in range(3):
            outbox.add(delivery(f"d{number}"))
            await until(lambda: not outbox.due and len(outbox.settled) == len(outbox.claimed))
        assert set(outbox.settled) == {"d0", "d1", "d2"}


async def test_a_burst_for_one_host_is_delivered_without_delay() -> None:
    outbox = MemoryOutbox(*(delivery(f"d{number}") for number in range(500)))
    sender = FakeSender(ok)
    async with asyncio.timeout(5):
        async with running(outbox, sender):
            await until(lambda: len(outbox.settled) == 500)
    assert sender.most["all"] == PER_HOST


async def test_concurrency_is_limited() -> None:
    outbox = MemoryOutbox(*(delivery(f"d{number}", f"host{number}") for number in range(200)))
    sender = FakeSender(ok)
    async with running(outbox, sender, concurrency=3):
        await until(lambda: len(outbox.settled) == 200)
    assert sender.most["all"] == 3


async def test_a_silent_host_does_not_delay_others() -> None:
    """SB16."""
    answers = asyncio.Event()

    async def reply(delivery: Delivery) -> Outcome:
        if "slow" in delivery.url:
            await answers.wait()
        return Delivered(200)

    slow = [delivery(f"slow{number}", "slow.example") for number in range(100)]
    outbox = MemoryOutbox(*slow, delivery("quick"))
    sender = FakeSender(reply)
    async with running(outbox, sender):
        await until(lambda: "quick" in outbox.settled)
        assert not answers.is_set()
        assert sender.most["http://slow.example/"] == PER_HOST
        answers.set()


async def test_a_crash_in_one_delivery_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reply(delivery: Delivery) -> Outcome:
        if delivery.id == "fine":
            return Delivered(200)
        raise RuntimeError("a bug")

    outbox = MemoryOutbox(delivery("bug"), delivery("last", attempts=9), delivery("fine"))
    async with running(outbox, FakeSender(reply)):
        await until(lambda: len(outbox.settled) == 3)
    kind, after_ms, *rest = outbox.settled["bug"]
    assert (kind, rest) == ("retry", [0, "internal error: RuntimeError"])
    assert 4500 <= int(after_ms) <= 5500
    assert outbox.settled["last"] == ("gave_up", 0, "internal error: RuntimeError")


async def test_the_loop_continues_after_an_outbox_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "_FAILURE_S", 0.0)

    class Failing(MemoryOutbox):
        def __init__(self) -> None:
            super().__init__()
            self.troubles = ["settle", "wait", "claim"]

        def fail(self, where: str) -> None:
            if self.troubles and self.troubles[-1] == where:
                self.troubles.pop()
                raise ConnectionError("redis is gone")

        async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
            self.fail("claim")
            return await super().claim(limit, lease_ms)

        async def settle(self, delivery: Delivery, state: str, status: int, error: str) -> None:
            self.fail("settle")
            await super().settle(delivery, state, status, error)

        async def wait(self, timeout: float) -> None:
            self.fail("wait")
            await super().wait(timeout)

    outbox = Failing()
    async with running(outbox, FakeSender(ok)):
        await until(lambda: outbox.troubles == ["settle"])
        outbox.add(delivery("lost"))
        await until(lambda: not outbox.troubles)
        outbox.add(delivery("kept"))
        await until(lambda: "kept" in outbox.settled)
    assert "lost" not in outbox.settled, "its lease brings it back"


async def test_stop_finishes_running_deliveries_and_starts_no_others() -> None:
    begun, answers = asyncio.Event(), asyncio.Event()

    async def reply(delivery: Delivery) -> Outcome:
        begun.set()
        await answers.wait()
        return Delivered(200)

    outbox = MemoryOutbox(*(delivery(f"d{number}") for number in range(5)))
    async with running(outbox, FakeSender(reply)) as stop:
        await begun.wait()
        stop.set()
        answers.set()
    assert set(outbox.settled) == {"d0", "d1"}


async def test_a_delivery_whose_lease_nearly_expired_is_left_to_the_next_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "LEASE_MS", 29_000)
    outbox = MemoryOutbox(delivery("late"))
    async with running(outbox, FakeSender(ok)):
        await until(lambda: outbox.claimed == ["late"])
    assert outbox.settled == {}


async def test_an_invalid_url_does_not_end_the_loop() -> None:
    outbox = MemoryOutbox(delivery("bad", "[::1"), delivery("good"))
    async with running(outbox, FakeSender(ok)):
        await until(lambda: len(outbox.settled) == 2)
