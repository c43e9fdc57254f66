"""Many tasks at once, and a queue whose wake-ups are deleted: everything completes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from saveany.store import Store
from tests.acceptance.promises.site import LONG, ONE_BYTE, ONE_MIB, Site, sha256
from tests.fixtures.waiting import until


@pytest.mark.timeout(300)
async def test_a_thousand_simultaneous_tasks_complete(site: Site) -> None:
    await site.start(2)
    at_once = asyncio.Semaphore(50)

    async def post(n: int) -> str:
        async with at_once:
            return await site.post(ONE_BYTE, f"{n % 10}")

    tasks = await asyncio.gather(*(post(n) for n in range(1000)))
    assert len(set(tasks)) == 1000

    async def all_ended() -> bool:
        return bool((await site.client.get("/api/v1/tasks")).json()["total"] == 0)

    took = await until(all_ended, within=200, what="end of all tasks")
    print(f"1,000 tasks ended {took:.1f} s after the last was posted")
    store = await site.store()
    ends = await store.tasks.get_many(list(tasks))
    assert Counter((end.status.value, end.error, end.epoch) for end in ends) == {("completed", "", 1): 1000}
    assert len(site.files()) == 1000
    right = site.sample(ONE_BYTE).files[0].sha256
    assert {sha256(site.storage_dir / name) for name in site.files()} == {right}

    async def all_reported() -> bool:
        return len({each.headers["webhook-id"] for each in site.receiver.requests}) == 1000

    took = await until(all_reported, within=120, what="webhook of every task")
    print(f"and the last webhook came {took:.1f} s later")


async def test_deleting_wake_ups_loses_nothing(site: Site) -> None:
    await site.start(2)
    site.sandbox.faults.add("delay=0.02,method=upload.getFile")
    store = await site.store()
    deleting = asyncio.create_task(delete_wake_ups(store))
    tasks = [await site.post(ONE_MIB, f"{n}") for n in range(300 if LONG else 60)]
    ends = await asyncio.gather(*(site.ended(task_id, 120) for task_id in tasks))
    deleting.cancel()
    with suppress(asyncio.CancelledError):
        await deleting
    assert Counter((end["status"], end["error"], end["attempts"]) for end in ends) == {
        ("completed", "", 1): len(tasks)
    }
    assert site.files() == sorted(f"{n}/1MiB.bin" for n in range(len(tasks)))
    for task_id in tasks:
        await site.webhook_sent_once(task_id)


async def delete_wake_ups(store: Store) -> None:
    """Delete all wake-ups and all keys of arq, repeatedly."""
    while True:
        keys = [key async for key in store.db.redis.scan_iter(match="arq:*")]
        keys += [key async for key in store.db.redis.scan_iter(match="sa:wake:*")]
        if keys:
            await store.db.do("DEL", *keys)
        await asyncio.sleep(0.01)
