"""A user whose slow tasks use all slots does not delay another user, and loses no bytes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from saveany.models import Checkpoint
from storages.base import Range
from tests.acceptance.promises.site import BIG, BIG_FILE, ENDS, ONE_MIB, OVER_ONE_MIB, Site
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import STORAGE, USER_ID
from tests.fixtures.waiting import until

SLOTS = 3
OTHER = USER_ID + 1
#: A task waits 5 s before another is stopped for it. On an idle machine it ends after 7 s.
SOON = 30.0


@pytest.fixture
async def two_user_site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site with one worker with few slots, and two users."""
    tables: dict[str, Any] = {"workers": SLOTS, "users": [{"id": USER_ID}, {"id": OTHER}]}
    async with Site(tmp_path, tables=tables) as site:
        await site.start(1)
        yield site
        site.print_logs()  # shown if the test failed


async def hold_every_slot(site: Site, tasks: Sequence[str], least: int) -> dict[str, Sequence[Range]]:
    """Wait until each task has `least` durable bytes in its checkpoint. Returns these ranges."""
    store = await site.store()
    kept: dict[str, Sequence[Range]] = {}

    async def all_have() -> bool:
        for task_id in tasks:
            assert (await site.task(task_id))["status"] not in ENDS
            known = await store.db.do("HGET", f"sa:checkpoints:{task_id}", 0)
            kept[task_id] = msgspec.json.decode(known, type=Checkpoint).durable if known else ()
        return all(sum(end - start for start, end in ranges) >= least for ranges in kept.values())

    await until(all_have, within=60, what="slow tasks that run")
    return kept


async def other_user_is_served(site: Site, tasks: Sequence[str]) -> None:
    other = await site.post(OVER_ONE_MIB, "other", user_id=OTHER)
    end = await site.ended(other, SOON)
    assert (end["status"], end["error"]) == ("completed", "")
    states = [(await site.task(task_id))["status"] for task_id in tasks]
    assert not set(states) & set(ENDS), "no slot became free by itself"
    site.check_content("other/1MiB-and-1.bin", OVER_ONE_MIB)


async def all_are_whole(site: Site, tasks: Sequence[str]) -> None:
    ends = [await site.ended(task_id, 90) for task_id in tasks]
    assert Counter((end["status"], end["error"], end["attempts"]) for end in ends) == {
        ("completed", "", 1): len(tasks)
    }
    claims = Counter(task.epoch for task in await (await site.store()).tasks.get_many(list(tasks)))
    assert claims == {1: len(tasks) - 1, 2: 1}, "one task made room, once"


@pytest.mark.timeout(240)
async def test_slow_telegram_files_yield_to_another_user(two_user_site: Site) -> None:
    fast = two_user_site.sandbox.faults.add(f"total_rate=8000000,file={BIG_FILE}")
    tasks = [await two_user_site.post(BIG, f"{n}") for n in range(SLOTS)]
    await hold_every_slot(two_user_site, tasks, 24 << 20)
    slow = two_user_site.sandbox.faults.add(f"total_rate=3000000,file={BIG_FILE}")
    two_user_site.sandbox.faults.remove(fast)
    await other_user_is_served(two_user_site, tasks)
    two_user_site.sandbox.faults.remove(slow)
    await all_are_whole(two_user_site, tasks)
    sent = two_user_site.sandbox.counters.bytes(file=BIG_FILE)
    size = two_user_site.sample(BIG).files[0].size
    # Parts in transfer when the task stops are requested again, but not the 24 MiB that are durable.
    assert sent < SLOTS * size + (24 << 20)
    for n in range(SLOTS):
        two_user_site.check_content(f"{n}/64MiB.bin", BIG)


@pytest.mark.timeout(240)
async def test_small_files_need_no_slot(two_user_site: Site) -> None:
    """Not even of the user whose large files use all slots; and no other task stops."""
    two_user_site.sandbox.faults.add(f"total_rate=8000000,file={BIG_FILE}")
    tasks = [await two_user_site.post(BIG, f"{n}") for n in range(SLOTS + 1)]
    await hold_every_slot(two_user_site, tasks[:SLOTS], 1 << 20)
    last = tasks[SLOTS]

    async def waits() -> bool:
        task = await two_user_site.task(last)
        return bool(task["status"] == "queued" and "all slots are busy" in task["waiting"])

    await until(waits, within=20, what="a large file that was looked up and waits for a slot")
    assert (await two_user_site.task(last))["items"][0]["size"] == two_user_site.sample(BIG).files[0].size
    small = [await two_user_site.post(ONE_MIB, f"small{n}") for n in range(2 * SLOTS)]
    ends = [await two_user_site.ended(task_id, SOON) for task_id in small]
    assert Counter((end["status"], end["attempts"]) for end in ends) == {("completed", 1): len(small)}
    states = [(await two_user_site.task(task_id))["status"] for task_id in tasks]
    assert states == ["running"] * SLOTS + ["queued"]
    assert (await two_user_site.task(last))["attempts"] == 0
    for task_id in tasks:
        await two_user_site.cancel(task_id)


@pytest.mark.timeout(240)
async def test_slow_web_servers_yield_to_another_user(two_user_site: Site) -> None:
    async with serve() as web:
        for n in range(SLOTS):
            web.pages[f"/{n}.bin"] = Page(os.urandom(24 << 20), headers={"ETag": f'"{n}"'}, pause=0.2)
        tasks = []
        for n in range(SLOTS):
            params = {"urls": [web.url(f"/{n}.bin")]}
            body = {"type": "directlinks", "params": params, "storage": STORAGE, "path": "drip"}
            reply = await two_user_site.client.post("/api/v1/tasks", json={**body, "user_id": USER_ID})
            assert reply.is_success, reply.text
            tasks.append(reply.json()["task_id"])
        kept = await hold_every_slot(two_user_site, tasks, 1 << 20)
        before = len(web.asked)
        await other_user_is_served(two_user_site, tasks)
        for page in web.pages.values():
            page.pause = 0.0
        await all_are_whole(two_user_site, tasks)
        for n, task_id in enumerate(tasks):
            again = [headers["range"] for path, headers in web.asked[before:] if path == f"/{n}.bin"]
            # The very first request checks the version of the file, and whether ranges are supported.
            starts = [int(each[6:].partition("-")[0]) for each in again if each != "bytes=0-"]
            assert not [at for at in starts for first, end in kept[task_id] if first <= at < end]
            assert (two_user_site.storage_dir / f"drip/{n}.bin").read_bytes() == web.pages[f"/{n}.bin"].data
