"""A worker dies at each step of the finish, and another takes over: there is exactly one file, and all
webhooks have the same id."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.store.claims import Claims
from tests.acceptance.promises.dying_worker import BOUNDARIES
from tests.acceptance.promises.site import ONE_MIB, ONE_MIB_FILE, Role, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Replacing a file takes a single rename, so there is no step between a link and an unlink.
CASES = [
    (boundary, policy)
    for boundary in BOUNDARIES
    for policy in ("rename", "overwrite")
    if (boundary, policy) != ("after-link-before-unlink", "overwrite")
]

Standing = tuple[Site, Role]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site_with_frozen_worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    """A site with a working worker, which is frozen while another one dies."""
    async with Site(tmp_path_factory.mktemp("crash")) as site:
        (good,) = await site.start(1)
        yield site, good


@pytest.mark.parametrize(("boundary", "policy"), CASES)
async def test_a_crash_at_any_boundary_leaves_exactly_one_file(
    site_with_frozen_worker: Standing, boundary: str, policy: str
) -> None:
    site, good = site_with_frozen_worker
    good.signal(signal.SIGSTOP)
    dying = await site.spawn("worker", via=["-m", "tests.acceptance.promises.dying_worker", boundary])
    folder = f"{boundary}-{policy}"
    task_id = await site.post(ONE_MIB, folder, on_conflict=policy)
    assert await dying.ended(30) == -signal.SIGKILL
    fetched = site.sandbox.counters.bytes(file=ONE_MIB_FILE)
    store = await site.store()
    await Claims(store.db).expire_leases(dying.worker_id)  # as the supervisor does
    good.signal(signal.SIGCONT)
    task = await site.ended(task_id, 30)
    assert (task["status"], task["error"], len(task["items"])) == ("completed", "", 1)
    found = [name for name in site.files() if name.startswith(folder)]
    assert found == [f"{folder}/1MiB.bin"] == [task["items"][0]["path"]]
    site.check_content(found[0], ONE_MIB)
    assert task["items"][0]["sha256"] == site.sample(ONE_MIB).files[0].sha256
    await site.webhook_sent_once(task_id)
    published = boundary.startswith(("after-link", "after-unlink", "before-finish-", "after-finish-"))
    if published:
        assert site.sandbox.counters.bytes(file=ONE_MIB_FILE) == fetched, "a finished file was fetched again"
