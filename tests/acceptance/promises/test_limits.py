"""Speed limits apply to running downloads, and soon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.stack import Stack

BIG = "https://t.me/channel/127"
BIG_FILE = 1005
MIB = 1 << 20
#: Bytes that a download may request before the limit permits them.
AHEAD = 8 * MIB


@pytest.fixture
async def stack(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, tables={"limits": getattr(request, "param", {})}) as stack:
        yield stack


async def limit(stack: Stack, rate: int) -> None:
    reply = await stack.client.put("/api/v1/limits", json={"bytes_per_second": rate})
    assert reply.is_success, reply.text


@pytest.mark.parametrize("stack", [{"bytes_per_second": 1}], indirect=True)
async def test_at_most_8_mib_exceed_the_speed_limit(stack: Stack) -> None:
    task_id = (await stack.add(BIG))["task_id"]
    await stack.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] >= AHEAD)
    assert stack.sandbox.counters.bytes(file=BIG_FILE) <= AHEAD
    await limit(stack, 0)
    assert (await stack.ended(task_id))["status"] == "completed"


async def test_a_changed_limit_applies_to_running_downloads(stack: Stack) -> None:
    slow = stack.sandbox.faults.add(f"total_rate=4000000,file={BIG_FILE}")
    task_id = (await stack.add(BIG))["task_id"]
    task = await stack.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] > 0)
    await limit(stack, 1)
    before = stack.sandbox.counters.bytes(file=BIG_FILE)
    task = await stack.wait(task_id, lambda task: "no bytes have arrived" in task.get("waiting", ""))
    assert task["status"] == "running"
    came = stack.sandbox.counters.bytes(file=BIG_FILE) - before
    assert came < 2 * 4_000_000 + 2 * AHEAD, "two seconds, and what was asked for"
    stack.sandbox.faults.remove(slow)
    await limit(stack, 0)
    assert (await stack.ended(task_id))["status"] == "completed"
