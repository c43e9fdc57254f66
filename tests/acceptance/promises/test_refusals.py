"""While Redis replies but refuses commands, all processes wait: none ends, and no task is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.promises.site import BIG, BIG_FILE, ONE_MIB, Site, descendants
from tests.fixtures.refusals import REFUSALS, administrator
from tests.fixtures.stack import USER_ID
from tests.fixtures.waiting import until

#: Seconds; longer than a worker's heartbeat interval and than all leases, so that every loop was refused.
_LONG = 16.0


@pytest.mark.parametrize("code", ["READONLY", "NOPERM", "BUSY", "MISCONF"])
async def test_no_process_ends_while_redis_refuses(tmp_path: Path, code: str) -> None:
    async with Site(tmp_path) as site:
        role = await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        before = set(descendants(role.pid))
        site.sandbox.faults.add(f"total_rate=12000000,file={BIG_FILE}")
        task_id = await site.post(BIG)
        await site.wait_for_download(task_id)
        async with administrator(site.redis.start()) as admin, REFUSALS[code](admin):
            began = time.monotonic()
            while time.monotonic() - began < _LONG:
                ready = await site.client.get("/readyz")
                assert ready.status_code == 503
                assert "redis" in ready.text
                body = {"telegram_url": ONE_MIB, "user_id": USER_ID}
                assert (await site.client.post("/api/v1/tasks", json=body)).status_code == 503
                await asyncio.sleep(1)
            assert role.process.returncode is None
            assert before <= set(descendants(role.pid)), "a process has ended"
        task = await site.ended(task_id)
        assert (task["status"], task["attempts"]) == ("completed", 1)
        await site.check_only_file(task_id, "in/64MiB.bin", BIG)
        assert before <= set(descendants(role.pid)), "a process has ended"
        role.signal(signal.SIGTERM)
        assert await role.ended(60) == 0
        assert "Traceback" not in role.log.read_text()


async def test_a_process_that_starts_while_redis_is_busy_waits(tmp_path: Path) -> None:
    """Neither that process nor the others end."""
    async with Site(tmp_path) as site:
        role = await site.spawn("run", "--workers", "2")
        await site.wait_until_ready(2)
        killed = await _first_worker(site)
        async with administrator(site.redis.start()) as admin, REFUSALS["BUSY"](admin):
            os.kill(killed, signal.SIGKILL)
            await until(lambda: _waits(role.log), within=60, what="word that the new worker waits")
        await site.wait_until_ready(2)
        assert role.process.returncode is None


async def _first_worker(site: Site) -> int:
    return int((await site.listed_workers())[0]["pid"])


async def _waits(log: Path) -> bool:
    return "waiting_for_redis" in log.read_text()
