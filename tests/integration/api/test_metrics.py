"""/metrics: values, the format of Prometheus, and the documentation of every metric."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from saveany.models import Status
from saveany.store import Store, WorkerInfo
from tests.integration.api.conftest import check_error, claim, create

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
#: A sample: name, labels, value.
SAMPLE = re.compile(r'^([a-z_]+)(\{[a-z]+="[^"\\\n]*"\})? (-?[0-9.e+-]+)$')


async def scraped(client: httpx.AsyncClient) -> str:
    reply = await client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return reply.text


async def samples(client: httpx.AsyncClient) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in (await scraped(client)).splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            name = match[1] + (match[2] or "")
            assert name not in found
            found[name] = float(match[3])
    return found


async def test_metrics_require_the_token(client: httpx.AsyncClient) -> None:
    check_error(await client.get("/metrics", headers={"Authorization": ""}), 401)


async def test_an_empty_store_has_metrics(client: httpx.AsyncClient) -> None:
    assert set((await samples(client)).values()) == {0}


async def test_tasks_are_counted_by_state(client: httpx.AsyncClient, store: Store) -> None:
    for _ in range(2):
        await create(client)
        await (await claim(store)).finish(Status.FAILED)
    await create(client)
    await claim(store)
    paused, canceled = await create(client), await create(client)
    await client.delete(f"/api/v1/tasks/{canceled}")
    await client.post(f"/api/v1/tasks/{paused}/pause")
    waiting = await create(client)
    await store.db.do("ZINCRBY", "sa:queued", -90_000, waiting)
    found = await samples(client)
    expected = {"queued": 1, "paused": 1, "running": 1, "completed": 0, "failed": 2, "canceled": 1}
    assert {state: found[f'saveany_tasks{{state="{state}"}}'] for state in expected} == expected
    assert 90 <= found["saveany_oldest_queued_seconds"] < 100


async def test_workers_and_queue_lengths_are_reported(client: httpx.AsyncClient, store: Store) -> None:
    await store.workers.heartbeat(WorkerInfo(id="w", host="nas", pid=7, started_at=0))
    await client.post("/api/v1/queue/pause")
    found = await samples(client)
    assert (found["saveany_workers"], found["saveany_queue_paused"]) == (1, 1)


async def test_counters_increase(client: httpx.AsyncClient, store: Store) -> None:
    counters = store.counters
    for seconds in (0.01, 0.02, 0.3, 100.0):
        counters.part(1 << 20, seconds)
    counters.add("flood_wait_seconds", 2.5)
    await counters.flush()
    await counters.flush()
    await create(client)
    working = await claim(store)
    await store.db.do("ZADD", "sa:leases", 1, working.task.id)
    await store.claims.reconcile(check_leases=True)
    found = await samples(client)
    assert found["saveany_downloaded_bytes_total"] == 4 << 20
    assert found["saveany_flood_wait_seconds_total"] == 2.5
    assert found["saveany_lost_leases_total"] == 1
    buckets = {name: value for name, value in found.items() if "_bucket" in name}
    assert list(buckets.values()) == sorted(buckets.values())
    wanted = {"0.025": 2, "0.25": 2, "0.5": 3, "60": 3, "+Inf": 4}
    assert {le: buckets[f'saveany_part_seconds_bucket{{le="{le}"}}'] for le in wanted} == wanted
    assert found["saveany_part_seconds_count"] == 4
    assert abs(found["saveany_part_seconds_sum"] - 100.33) < 1e-6


async def test_exactly_the_documented_metrics_exist(client: httpx.AsyncClient) -> None:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", await scraped(client), re.MULTILINE))
    told = dict(re.findall(r"^\| `(saveany_\w+)`[^|]*\| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    assert told == types
    labels = {m[1] for name in await samples(client) if (m := re.search(r'="(.*)"', name))}
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert {label for label in labels if not re.fullmatch(r"[0-9.]+|\+Inf", label)} <= named
