"""A deleted file leaves nothing behind, whichever process is killed at whichever step of its removal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.promises.dying_worker import API_REMOVALS, REMOVALS
from tests.acceptance.promises.site import ONE_MIB, Role, Site
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Standing = tuple[Site, Role]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site_with_worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    async with Site(tmp_path_factory.mktemp("trash")) as site:
        (worker,) = await site.start(1)
        yield site, worker


async def saved(site: Site, folder: str) -> str:
    """Save two files, of which one is to stay; returns the id of the other."""
    task_id = await site.post(ONE_MIB, folder)
    assert (await site.ended(task_id, 30))["status"] == "completed"
    await site.ended(await site.post(ONE_MIB, f"{folder}-kept"), 30)
    found = (await site.client.get("/api/v1/files", params={"limit": 200})).json()["files"]
    return next(str(file["file_id"]) for file in found if file["task_id"] == task_id)


async def check_removed(site: Site, folder: str) -> None:
    """Wait until the copy of the deleted file is gone, and the catalogue knows that."""
    store = await site.store()
    # A lock of the worker that was killed expires after a minute.
    await store.db.do("DEL", f"sa:removing:local1:{folder}/1MiB.bin")

    async def gone() -> bool:
        open_ = await store.db.do("EXISTS", "sa:removals:local1", "sa:removed")
        return open_ == 0 and f"{folder}/1MiB.bin" not in site.files()

    await until(gone, what="removal of the copy")
    assert f"{folder}-kept/1MiB.bin" in site.files()
    site.check_content(f"{folder}-kept/1MiB.bin", ONE_MIB)
    found = (await site.client.get("/api/v1/files", params={"limit": 200})).json()["files"]
    assert f"/{folder}" not in [file["folder"] for file in found]
    assert f"/{folder}-kept" in [file["folder"] for file in found]


@pytest.mark.parametrize("boundary", REMOVALS)
async def test_a_worker_dies_while_it_removes_a_copy(site_with_worker: Standing, boundary: str) -> None:
    site, good = site_with_worker
    file_id = await saved(site, boundary)
    good.signal(signal.SIGSTOP)
    dying = await site.spawn("worker", via=["-m", "tests.acceptance.promises.dying_worker", boundary])
    reply = await site.client.delete(f"/api/v1/files/{file_id}", params={"now": True})
    assert reply.status_code == 200
    assert await dying.ended(30) == -signal.SIGKILL
    good.signal(signal.SIGCONT)
    await check_removed(site, boundary)


@pytest.mark.parametrize("boundary", API_REMOVALS)
async def test_an_api_dies_while_it_has_a_copy_removed(site_with_worker: Standing, boundary: str) -> None:
    site, _ = site_with_worker
    file_id = await saved(site, boundary)
    api = next(
        role for role in site.spawned if role.name.startswith("api") and role.process.returncode is None
    )
    await api.kill()
    dying = await site.spawn("api", via=["-m", "tests.acceptance.promises.dying_worker", boundary])
    await site.wait_until_ready(1)
    await site.client.delete(f"/api/v1/files/{file_id}", params={"now": True})
    assert await dying.ended(30) == -signal.SIGKILL
    await site.spawn("api")
    await site.wait_until_ready(1)
    await check_removed(site, boundary)
