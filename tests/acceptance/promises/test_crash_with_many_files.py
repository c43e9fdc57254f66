"""A worker dies at a step of a task with many files in flight, and another takes over."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.store.claims import Claims
from tests.acceptance.promises.dying_worker import RECORDINGS
from tests.acceptance.promises.site import Role, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANGE = "https://t.me/channel/130-143"
#: The sandbox's ids of the files in the range.
FILES = range(1008, 1022)

Standing = tuple[Site, Role]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site_with_frozen_worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    """A site with a working worker, which is frozen while another one dies."""
    async with Site(tmp_path_factory.mktemp("crash")) as site:
        (good,) = await site.start(1)
        yield site, good


@pytest.mark.parametrize("boundary", RECORDINGS)
async def test_a_crash_while_files_are_recorded_loses_and_duplicates_none(
    site_with_frozen_worker: Standing, boundary: str
) -> None:
    site, good = site_with_frozen_worker
    good.signal(signal.SIGSTOP)
    dying = await site.spawn("worker", via=["-m", "tests.acceptance.promises.dying_worker", boundary])
    task_id = await site.post(RANGE, boundary)
    assert await dying.ended(30) == -signal.SIGKILL
    store = await site.store()
    await Claims(store.db).expire_leases(dying.worker_id)  # as the supervisor does
    good.signal(signal.SIGCONT)
    task = await site.ended(task_id, 30)
    assert (task["status"], task["error"]) == ("completed", "")
    expected = {each.sha256 for sample in site.sandbox.samples for each in sample.files}
    items = task["items"]
    assert len(items) == len(FILES)
    assert {item["sha256"] for item in items} <= expected
    assert len({item["sha256"] for item in items}) == len(FILES)
    found = [name for name in site.files() if name.startswith(f"{boundary}/")]
    assert found == sorted(item["path"] for item in items)
    await site.webhook_sent_once(task_id)
