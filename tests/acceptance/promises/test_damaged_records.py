"""How workers handle damaged records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saveany.ids import new_id
from saveany.models import TaskSpec
from saveany.store import Store
from tests.acceptance.promises.site import ONE_MIB, Site
from tests.fixtures.stack import STORAGE, USER_ID

HASTY = ("-m", "tests.acceptance.promises.hasty_worker")


async def accept(store: Store, **changes: Any) -> str:
    wish = {"type": "tgfiles", "links": (ONE_MIB,), "user_id": USER_ID, "storage": STORAGE, **changes}
    spec = TaskSpec(id=new_id(), **wish)
    await store.tasks.accept(spec, "title")
    return spec.id


async def create_unrunnable_tasks(site: Site) -> dict[str, str]:
    """Damaged tasks, and the expected error of each."""
    store = await site.store()
    told = {
        await accept(store, storage="old"): "storage 'old' is in the configuration of no running worker",
        await accept(store, type="transfer", source_storage="gone"): "storage 'gone' is in the configuration",
        await accept(store, type="holograms"): "there is no task type 'holograms'",
    }
    for name, value, words in (
        ("spec", "{", "cannot be read: it is damaged"),
        ("spec", '{"v":9}', "newer version of SaveAny"),
        ("items_total", 2, "its file records are lost"),
    ):
        task_id = await accept(store)
        await store.db.do("HSET", f"sa:task:{task_id}", name, value)
        told[task_id] = words
    await store.db.do("HSET", "sa:meta", "webhook_secret", b"\xff\x00")
    return told


async def test_tasks_that_no_worker_can_run_fail_with_the_reason(tmp_path: Path) -> None:
    """The worker starts, even with a damaged webhook secret, keeps running, and saves all other tasks."""
    async with Site(tmp_path) as site:
        told = await create_unrunnable_tasks(site)
        await site.spawn("api")
        await site.spawn("worker", via=HASTY)
        await site.wait_until_ready(1)
        for task_id, words in told.items():
            task = await site.ended(task_id, 60)
            assert task["status"] == "failed"
            assert words in task["error"], task
        missing = [await site.task(task_id) for task_id, words in told.items() if "configuration" in words]
        assert all(f"retry {task['task_id']}" in task["error"] for task in missing)
        good = await site.post(ONE_MIB)
        assert (await site.ended(good, 60))["status"] == "completed"
        await site.webhook_sent_once(good)
        await site.webhook_sent_once(next(iter(told)))


async def test_a_task_can_be_retried_when_its_storage_is_back(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        task_id = await accept(await site.store(), storage="old")
        await site.spawn("api")
        worker = await site.spawn("worker", via=HASTY)
        await site.wait_until_ready(1)
        assert (await site.ended(task_id, 60))["status"] == "failed"
        await worker.kill()
        old = {"name": "old", "type": "local", "base_path": str(site.storage_dir.with_name("old"))}
        here = {"name": STORAGE, "type": "local", "base_path": str(site.storage_dir)}
        site.write_config(storages=[here, old])
        await site.spawn("worker", via=HASTY)
        await site.client.post(f"/api/v1/tasks/{task_id}/retry")
        assert (await site.ended(task_id, 60))["status"] == "completed"
        assert (site.storage_dir.with_name("old") / "1MiB.bin").exists()
