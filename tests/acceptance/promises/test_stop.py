"""SIGTERM: a worker finishes what it can, returns other tasks to the queue, and no attempt is used up."""

from __future__ import annotations

import signal
import time

from tests.acceptance.promises.site import BIG, BIG_FILE, SLOW, Site
from tests.fixtures.waiting import until

#: Seconds that a process may need after the time for its tasks: to disconnect and unregister, on a busy
#: machine.
MARGIN = 5.0


async def test_a_task_longer_than_the_drain_returns_to_the_queue(site_of_short_drain: Site) -> None:
    site = site_of_short_drain
    (worker,) = await site.start(1)
    task_id = await site.post(SLOW)
    await site.wait_for_download(task_id)
    since = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.ended(1 + MARGIN) == 0
    print(f"drained in {time.monotonic() - since:.1f} s")
    task = await site.task(task_id)
    assert (task["status"], task["error"]) == ("queued", "")
    assert "error" not in task["items"][0]
    assert await site.listed_workers() == []
    store = await site.store()
    assert [item.failures for item in await store.tasks.all_items(task_id)] == [0]
    assert task["attempts"] == 0, "an attempt that was told to stop is none"
    await site.spawn("worker")
    assert (await site.ended(task_id))["attempts"] == 1
    await site.check_only_file(task_id, "in/slow-64MiB.bin", SLOW)


async def test_a_short_task_is_finished_and_no_other_is_started(site: Site) -> None:
    (worker,) = await site.start(1)
    site.sandbox.faults.add(f"total_rate=25000000,file={BIG_FILE}")
    first = [await site.post(BIG, f"{n}") for n in range(3)]  # as many as it runs at once
    later = await site.post(BIG, "later")
    await site.wait_for_download(first[2], 1 << 20)
    worker.signal(signal.SIGTERM)
    assert await worker.ended(10 + MARGIN) == 0
    ends = [await site.task(task_id) for task_id in first]
    assert [(end["status"], end["attempts"]) for end in ends] == [("completed", 1)] * 3
    assert (await site.task(later))["status"] == "queued"


async def test_a_second_signal_stops_at_once(site: Site) -> None:
    (worker,) = await site.start(1)
    site.sandbox.faults.add(f"total_rate=2000000,file={BIG_FILE}")
    task_id = await site.post(BIG)
    await site.wait_for_download(task_id, 1 << 20)
    since = time.monotonic()
    worker.signal(signal.SIGTERM)

    async def draining() -> bool:
        return "worker_draining" in worker.log.read_text()

    await until(draining, within=10, what="word of it")
    worker.signal(signal.SIGTERM)
    assert await worker.ended(MARGIN) == 0
    assert time.monotonic() - since < MARGIN
    task = await site.task(task_id)
    assert (task["status"], task["error"]) == ("queued", "")


async def test_a_restart_of_everything_continues_the_tasks(site_of_short_drain: Site) -> None:
    site = site_of_short_drain
    run = await site.spawn("run", "--workers", "2")
    await site.wait_until_ready(2)
    task_id = await site.post(SLOW)
    await site.wait_for_download(task_id)
    run.signal(signal.SIGTERM)
    assert await run.ended(1 + 2 * MARGIN) == 0
    await site.spawn("run", "--workers", "1")
    await site.wait_until_ready(1)
    await site.ended(task_id)
    await site.check_only_file(task_id, "in/slow-64MiB.bin", SLOW)
