"""A worker dies while it runs many small tasks at the same time, and another one takes over all of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.store.claims import Claims
from tests.acceptance.promises.dying_worker import SMALL_TASKS
from tests.acceptance.promises.site import Role, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Links to one small file each.
NUMBERS = (123, 124, 130, 131, 132, 133, 134, *range(136, 144))
LINKS = [f"https://t.me/channel/{number}?single" for number in NUMBERS]

Standing = tuple[Site, Role]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site_with_frozen_worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    """A site with a working worker, which is frozen while another one dies."""
    async with Site(tmp_path_factory.mktemp("crash")) as site:
        (good,) = await site.start(1)
        yield site, good


@pytest.mark.parametrize("boundary", SMALL_TASKS)
async def test_a_crash_with_many_small_tasks_loses_and_duplicates_none(
    site_with_frozen_worker: Standing, boundary: str
) -> None:
    site, good = site_with_frozen_worker
    good.signal(signal.SIGSTOP)
    tasks = await asyncio.gather(*(site.post(link, boundary) for link in LINKS))
    dying = await site.spawn("worker", via=["-m", "tests.acceptance.promises.dying_worker", boundary])
    assert await dying.ended(30) == -signal.SIGKILL
    store = await site.store()
    lost = await Claims(store.db).expire_leases(dying.worker_id)  # as the supervisor does
    good.signal(signal.SIGCONT)
    ends = [await site.ended(task_id, 30) for task_id in tasks]
    assert Counter((end["status"], end["error"]) for end in ends) == {("completed", ""): len(LINKS)}
    paths = [end["items"][0]["path"] for end in ends]
    assert sorted(name for name in site.files() if name.startswith(f"{boundary}/")) == sorted(paths)
    assert len(set(paths)) == len(LINKS)
    known = {each.sha256 for sample in site.sandbox.samples for each in sample.files}
    assert {end["items"][0]["sha256"] for end in ends} <= known
    for task_id in tasks:
        await site.webhook_sent_once(task_id)
    # Tasks that end at the same time are recorded together: maybe all that it had claimed.
    assert lost > 0 or boundary.startswith("after-finish"), "it died with tasks that it had claimed"
