"""`kill -9`: no accepted task is lost, and no file is saved twice."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

from saveany.store.claims import LEASE_MS
from tests.acceptance.promises.site import BIG, BIG_FILE, LONG, ONE_MIB, SLOW, SLOW_FILE, Site, descendants
from tests.fixtures.stack import USER_ID
from tests.fixtures.waiting import until

#: Seconds after a kill within which the task must complete. The slow sample alone takes 8.4 s.
PROMISE = 30


async def test_a_supervised_worker_is_replaced_after_a_kill(tmp_path: Path) -> None:
    async with Site(tmp_path, own_redis=False) as site:
        await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        task_id = await site.post(SLOW)
        await site.wait_for_download(task_id, 32 << 20)
        killed = await site.pid_of_worker(task_id)
        os.kill(killed, signal.SIGKILL)
        fetched = site.sandbox.counters.bytes(file=SLOW_FILE)
        since = time.monotonic()
        task = await site.ended(task_id, PROMISE)
        print(f"completed {time.monotonic() - since:.1f} s after the kill")
        assert task["attempts"] == 2
        await site.check_only_file(task_id, "in/slow-64MiB.bin", SLOW)
        again = site.sandbox.counters.bytes(file=SLOW_FILE) - fetched
        assert again < 56 << 20, "it began anew in place of going on from the last checkpoint"

        async def two_again() -> bool:
            pids = {each["pid"] for each in await site.listed_workers()}
            return len(pids) == 2 and killed not in pids

        await until(two_again, what="second worker in place of the killed one")


async def test_a_killed_worker_without_supervisor_loses_nothing(site: Site) -> None:
    workers = await site.start(2)
    task_id = await site.post(SLOW)
    await site.wait_for_download(task_id, 24 << 20)
    busy = await site.pid_of_worker(task_id)
    await next(each for each in workers if each.pid == busy).kill()
    since = time.monotonic()
    task = await site.ended(task_id, PROMISE)
    print(f"completed {time.monotonic() - since:.1f} s after the kill")
    assert task["attempts"] == 2
    await site.check_only_file(task_id, "in/slow-64MiB.bin", SLOW)


async def test_a_worker_that_starts_takes_the_tasks_of_a_dead_one_at_once(site: Site) -> None:
    """It does not wait for their leases. It leaves alone those of a worker that is frozen."""
    first, frozen = await site.start(2)
    slowed = site.sandbox.faults.add(f"total_rate=6000000,file={BIG_FILE}")
    tasks = [await site.post(BIG, f"{n}") for n in range(6)]  # as many as both have slots for
    for task_id in tasks:
        await site.wait_for_download(task_id, 1 << 20)
    store = await site.store()
    live = await store.tasks.live()
    of_first = [task for task in live if task.worker == first.worker_id]
    of_frozen = [task for task in live if task.worker == frozen.worker_id]
    assert (len(of_first), len(of_frozen)) == (3, 3)
    for worker in (first, frozen):
        worker.signal(signal.SIGSTOP)
    for task_id in tasks:
        await store.db.do("ZADD", "sa:leases", 4_000_000_000_000, task_id)  # in the year 2096
    canceled = of_first.pop()
    assert await store.tasks.cancel(canceled.id, []) == "requested"
    await first.kill()
    site.sandbox.faults.remove(slowed)
    await site.spawn("worker")
    for task in of_first:
        assert (await site.ended(task.id))["status"] == "completed"
    assert (await site.ended(canceled.id))["status"] == "canceled"
    for task in of_frozen:
        now = await store.tasks.get(task.id)
        assert now is not None
        assert (now.status, now.epoch, now.worker) == ("running", task.epoch, frozen.worker_id)
    frozen.signal(signal.SIGCONT)
    for task in of_frozen:
        assert (await site.ended(task.id))["status"] == "completed"
    names = sorted(f"{tasks.index(task.id)}/64MiB.bin" for task in (*of_first, *of_frozen))
    # A worker removes the unfinished file of the canceled task after its end.
    await until(lambda: site.files() == names, what=lambda: f"{names} alone: {site.files()}")
    for task in (*of_first, *of_frozen):
        site.check_content(f"{tasks.index(task.id)}/64MiB.bin", BIG)


async def test_a_frozen_worker_that_wakes_up_writes_nothing(site: Site) -> None:
    """It is frozen for longer than three leases, another worker takes over, and it writes nothing."""
    workers = await site.start(2)
    task_id = await site.post(SLOW)
    await site.wait_for_download(task_id)
    busy = await site.pid_of_worker(task_id)
    frozen = next(each for each in workers if each.pid == busy)
    other = next(each for each in workers if each.pid != busy)
    since = time.monotonic()
    frozen.signal(signal.SIGSTOP)
    done = await site.ended(task_id)

    async def three_leases() -> bool:
        return not LONG or time.monotonic() - since > 3 * LEASE_MS / 1000

    await until(three_leases, within=60, what="end of three leases")
    before = (site.storage_dir / "in/slow-64MiB.bin").stat()
    frozen.signal(signal.SIGCONT)

    async def noticed() -> bool:
        return "claim_lost" in frozen.log.read_text()

    await until(noticed, what="word of it in its log")
    now = await site.task(task_id)
    assert now == done | {"webhook": now["webhook"]}  # the delivery may come later
    assert done["attempts"] == 2
    after = (site.storage_dir / "in/slow-64MiB.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    await site.check_only_file(task_id, "in/slow-64MiB.bin", SLOW)
    await other.kill()
    assert (await site.ended(await site.post(ONE_MIB, "next")))["status"] == "completed", "it goes on working"


async def test_killing_every_process_loses_nothing(tmp_path: Path) -> None:
    tables = {"workers": 1}
    async with Site(tmp_path, own_redis=False, tables=tables) as site:
        first = await site.spawn("run", "--workers", "1")
        await site.wait_until_ready(1)
        slowed = site.sandbox.faults.add(f"total_rate=20000000,file={BIG_FILE}")
        running = await site.post(BIG, "running")
        queued = [await site.post(ONE_MIB, f"queued-{n}") for n in range(8)]
        await site.wait_for_download(running)
        for pid in descendants(first.pid):
            os.kill(pid, signal.SIGKILL)
        await first.ended(5)
        site.sandbox.faults.remove(slowed)
        await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        for task_id in [running, *queued]:
            assert (await site.ended(task_id))["status"] == "completed"
            await site.webhook_sent_once(task_id)
        assert site.files() == [*(f"queued-{n}/1MiB.bin" for n in range(8)), "running/64MiB.bin"]
        site.check_content("running/64MiB.bin", BIG)
        for n in range(8):
            site.check_content(f"queued-{n}/1MiB.bin", ONE_MIB)


async def test_a_killed_valkey_interrupts_no_transfer(tmp_path: Path) -> None:
    """The transfer continues through the outage: the same claim and processes, and nothing is downloaded
    twice."""
    async with Site(tmp_path, own_redis=False) as site:
        run = await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        before = {each["pid"] for each in await site.listed_workers()}
        site.sandbox.faults.add(f"total_rate=12000000,file={BIG_FILE}")
        task_id = await site.post(BIG)
        await site.wait_for_download(task_id)
        (valkey,) = [pid for pid in descendants(run.pid) if _program(pid).startswith("valkey-server")]
        os.kill(valkey, signal.SIGKILL)
        await until(partial(_at_most, site, 0), within=60, what="end of the task")
        task = await site.task(task_id)
        assert task["attempts"] == 1
        assert site.sandbox.counters.bytes(file=BIG_FILE) < (64 << 20) + (8 << 20)
        await site.check_only_file(task_id, "in/64MiB.bin", BIG)
        assert {each["pid"] for each in await site.listed_workers()} == before


async def test_a_repeatedly_killed_valkey_loses_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path, own_redis=False) as site:
        run = await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        site.sandbox.faults.add("delay=0.1,method=upload.getFile")
        tasks = [await site.post(ONE_MIB, f"{n}") for n in range(60)]
        for left in (50, 35, 20):
            await until(partial(_at_most, site, left), within=60, what=f"state of {left} tasks left")
            for pid in descendants(run.pid):
                if _program(pid).startswith("valkey-server"):
                    os.kill(pid, signal.SIGKILL)
        await until(partial(_at_most, site, 0), within=90, what="end of all tasks")
        ends = [await site.task(task_id) for task_id in tasks]
        assert [(end["status"], end["error"]) for end in ends] == [("completed", "")] * 60
        assert site.files() == sorted(f"{n}/1MiB.bin" for n in range(60))
        # A sender whose claim got no reply retries only after a minute, so check the outbox.
        store = await site.store()
        for task_id in tasks:
            assert [each.event for each in await store.outbox.of_task(task_id)] == ["task.completed"]


async def test_a_full_redis_ends_no_process(site: Site) -> None:
    workers = await site.start(2)
    site.sandbox.faults.add(f"total_rate=12000000,file={BIG_FILE}")
    task_id = await site.post(BIG)
    await site.wait_for_download(task_id)
    store = await site.store()
    await store.db.do("CONFIG", "SET", "maxmemory", "1")
    reply = await site.client.post("/api/v1/tasks", json={"telegram_url": ONE_MIB, "user_id": USER_ID})
    assert reply.status_code == 503

    async def all_noticed() -> bool:
        return all("waiting_for_redis" in each.log.read_text() for each in workers)

    await until(all_noticed, what="word of it in every log")
    await store.db.do("CONFIG", "SET", "maxmemory", "0")
    task = await site.ended(task_id)
    assert task["attempts"] == 1
    await site.check_only_file(task_id, "in/64MiB.bin", BIG)
    assert {each["pid"] for each in await site.listed_workers()} == {each.pid for each in workers}


async def _at_most(site: Site, left: int) -> bool:
    """Whether `count` tasks are left. While Redis is unavailable, the API replies with 503."""
    reply = await site.client.get("/api/v1/tasks")
    return reply.status_code == 200 and reply.json()["total"] <= left


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
