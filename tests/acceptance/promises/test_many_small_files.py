"""Failures while a task of many small files is in flight: none is lost, saved twice or reported wrongly."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from saveany.models import ItemStatus
from saveany.sandbox.samples import BOT, USER
from tests.acceptance.promises.test_cancel import PROMPT
from tests.chaos.installation import ChaosInstallation, Plan, Target
from tests.chaos.launch import SHORT_TIMEOUTS
from tests.chaos.result import ScenarioResult
from tests.chaos.scenarios.disk import mounted
from tests.fixtures.refusals import REFUSALS, administrator
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_KIB = 1 << 10
#: Files of a task that one worker saves at the same time.
_IN_FLIGHT = 64
#: A disk of `mounted` has room for 56 files of this size.
_SIZE = (6 << 20) // 57


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChaosInstallation]:
    """An installation with one worker, whose lease is as long as in use."""
    plan = Plan(long=True, seed=1, folder=tmp_path_factory.mktemp("small"))
    async with ChaosInstallation(plan) as installation:
        await installation.launch(1, SHORT_TIMEOUTS)
        yield installation


@pytest_asyncio.fixture(loop_scope="module")
async def site(installation: ChaosInstallation) -> AsyncIterator[ChaosInstallation]:
    """The installation without faults and without targets of earlier tests."""
    installation.targets.clear()
    installation.sandbox.counters.clear()
    yield installation
    installation.sandbox.faults.clear()


def files(site: ChaosInstallation, count: int, *, private: bool = False, error: str = "") -> Target:
    """Files of 1 to 200 KiB for one task."""
    sizes = [site.plan.random.randint(_KIB, 200 * _KIB) for _ in range(count)]
    return site.target_of_many(sizes, private=private, error=error)


async def check(site: ChaosInstallation, *targets: Target) -> None:
    """Wait for the ends of the tasks; compare their files and records with Telegram's."""
    for target in targets:
        await site.ended(target.task, 120)
    result = await site.audit(ScenarioResult("small files"))
    await site.check_no_attempts_used(result)
    assert result.passed, str(result)
    assert result.done == sum(len(target.files) for target in targets)


async def statuses(site: ChaosInstallation, target: Target) -> Counter[ItemStatus]:
    """The number of files of a task in each status."""
    return Counter(item.status for item in await site.state.tasks.all_items(target.task))


async def in_flight(site: ChaosInstallation, target: Target, count: int = _IN_FLIGHT) -> None:
    """Wait until `count` files of a task are being saved."""

    async def running() -> bool:
        return (await statuses(site, target))[ItemStatus.RUNNING] >= count

    await until(running, what=f"{count} files in flight")


def served_fifths(site: ChaosInstallation, target: Target, fifths: int) -> bool:
    """Whether Telegram has served that many fifths of the bytes."""
    return site.served(target) > target.size * fifths // 5


def visible(site: ChaosInstallation, target: Target) -> list[str]:
    """The complete files of a task."""
    return [
        name
        for name in site.files()
        if name.startswith(f"{target.folder}/") and not name.endswith(".partial")
    ]


@pytest.mark.parametrize(
    "fault", ["flood_wait=1,every=40", "timeout,every=7", "error=500:RPC_CALL_FAIL,every=9", "drop,every=30"]
)
async def test_failures_of_every_nth_request_cost_no_file_and_no_attempt(
    site: ChaosInstallation, fault: str
) -> None:
    added = site.sandbox.faults.add(f"{fault},method=upload.getFile")
    target = await site.send(files(site, 150))
    await check(site, target)
    assert added.fired >= 3
    if added.kind != "drop":  # which loses replies that are under way
        assert site.served(target) == target.size


async def test_file_references_that_expire_are_renewed_for_many_files_at_once(
    site: ChaosInstallation,
) -> None:
    """All 200 files are planned, and some of them are in flight."""
    site.sandbox.faults.add("delay=0.1,method=channels.getMessages")
    slowed = site.sandbox.faults.add("total_rate=2000000,method=upload.getFile")
    target = await site.send(files(site, 200))
    await until(lambda: site.served(target) > target.size // 10, what="the first files")
    before = site.sandbox.counters.requests(method="channels.getMessages")
    for file in target.files:
        site.sandbox.world.expire(file)
    site.sandbox.faults.remove(slowed)
    await check(site, target)
    lookups = site.sandbox.counters.requests(method="channels.getMessages") - before
    assert 1 <= lookups <= 40  # on a busy machine, fewer of the 200 are looked up together


async def test_files_in_flight_continue_with_another_account(site: ChaosInstallation) -> None:
    slowed = site.sandbox.faults.add("total_rate=1000000,method=upload.getFile")
    target = await site.send(files(site, 150))
    await in_flight(site, target)
    revoked = site.sandbox.faults.add(f"revoke,account={BOT.id},method=upload.getFile,count=1")
    await until(lambda: revoked.fired > 0, what="the end of the login")
    site.sandbox.faults.remove(slowed)
    await check(site, target)


@pytest.mark.parametrize("code", ["READONLY", "OOM"])
async def test_files_in_flight_wait_while_redis_refuses_writes(site: ChaosInstallation, code: str) -> None:
    slowed = site.sandbox.faults.add("total_rate=3000000,method=upload.getFile")
    target = await site.send(files(site, 200))
    await in_flight(site, target)
    log = site.roles[0].log
    waits = log.read_text().count("waiting_for_redis")
    async with administrator(site.redis.start()) as admin, REFUSALS[code](admin):
        site.sandbox.faults.remove(slowed)
        await until(lambda: log.read_text().count("waiting_for_redis") > waits, what="word of it in the log")
        assert len(visible(site, target)) < len(target.files)
    await check(site, target)
    assert site.served(target) == target.size


async def test_files_in_flight_survive_restarts_of_redis(site: ChaosInstallation) -> None:
    site.sandbox.faults.add("total_rate=3000000,method=upload.getFile")
    target = await site.send(files(site, 200))
    await in_flight(site, target)
    for fifths in (1, 2, 3):
        await until(partial(served_fifths, site, target, fifths), what=f"{fifths} fifths of the bytes")
        os.kill(site.redis_pid(), signal.SIGKILL)
    await check(site, target)
    assert site.served(target) == target.size


async def test_a_cancel_of_files_in_flight_takes_effect_within_a_second(site: ChaosInstallation) -> None:
    site.sandbox.faults.add("total_rate=1000000,method=upload.getFile")
    target = await site.send(files(site, 200))
    await in_flight(site, target)
    began = time.monotonic()
    assert (await site.cancel(target.task)).is_success
    await site.wait(target.task, lambda task: task["status"] == "canceled")
    assert time.monotonic() - began < PROMPT
    found = await statuses(site, target)
    assert set(found) <= {ItemStatus.COMPLETED, ItemStatus.QUEUED}
    assert len(visible(site, target)) == found[ItemStatus.COMPLETED] < len(target.files)
    assert not any(".partial" in name for name in site.files())


async def test_a_pause_of_files_in_flight_takes_effect_within_a_second(site: ChaosInstallation) -> None:
    slowed = site.sandbox.faults.add("total_rate=1000000,method=upload.getFile")
    target = await site.send(files(site, 200))
    await in_flight(site, target)
    began = time.monotonic()
    assert (await site.client.post(f"/api/v1/tasks/{target.task}/pause")).is_success
    await site.wait(target.task, lambda task: task["status"] == "queued" and task["stage"] == "paused")
    assert time.monotonic() - began < PROMPT
    found = await statuses(site, target)
    assert len(visible(site, target)) == found[ItemStatus.COMPLETED] < len(target.files)
    site.sandbox.faults.remove(slowed)
    assert (await site.client.post(f"/api/v1/tasks/{target.task}/resume")).is_success
    await check(site, target)


async def test_a_disk_that_is_full_after_the_56th_of_100_files(tmp_path: Path) -> None:
    """Each file that does not fit fails with that reason and leaves nothing behind; a retry saves it."""
    installation = ChaosInstallation(Plan(long=False, seed=1, folder=tmp_path))
    installation.storage_dir.mkdir(parents=True)
    with mounted(installation.storage_dir) as problem:
        if problem:
            pytest.skip(problem)
        async with installation:
            await installation.launch(1)
            target = await installation.send(installation.target_of_many([_SIZE] * 100))
            task = await installation.ended(target.task)
            assert task["status"] == "failed"
            assert "44 of 100 files failed" in task["error"]
            assert "full" in task["error"] or "are free" in task["error"]
            assert await statuses(installation, target) == {ItemStatus.COMPLETED: 56, ItemStatus.FAILED: 44}
            saved = [installation.storage_dir / name for name in installation.files()]
            assert len(saved) == 56
            assert {path.stat().st_size for path in saved} == {_SIZE}


async def test_a_lost_account_stops_all_files_of_a_task(tmp_path: Path) -> None:
    """Only that account can read them. Files that were saved before are kept."""
    async with ChaosInstallation(Plan(long=False, seed=1, folder=tmp_path)) as installation:
        await installation.launch(1, SHORT_TIMEOUTS)
        installation.sandbox.faults.add("total_rate=1000000,method=upload.getFile")
        target = await installation.send(files(installation, 150, private=True))
        await in_flight(installation, target)
        await until(lambda: any(not each.endswith(".partial") for each in installation.files()))
        installation.sandbox.faults.add(f"revoke=AUTH_KEY_DUPLICATED,account={USER.id}")
        task = await installation.ended(target.task)
        assert task["status"] == "failed"
        assert "log in again" in task["error"]
        found = await statuses(installation, target)
        assert set(found) == {ItemStatus.COMPLETED, ItemStatus.FAILED}
        assert len(installation.files()) == found[ItemStatus.COMPLETED] > 0
