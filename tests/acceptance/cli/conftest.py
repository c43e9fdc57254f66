"""A running SaveAny, shared by the tests of a module. Tasks that a test leaves running are canceled after
it.

Its slow sample takes more than two minutes, so that whatever a test does to it comes in time on a busy
machine. Each test begins with a fresh limit: parts that a canceled task had asked for hold nobody up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.stack import Stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack")) as stack:
        slow_down(stack)
        yield stack


def slow_down(stack: Stack) -> None:
    stack.sandbox.faults.clear()
    stack.sandbox.faults.add("total_rate=500000,file=1006")


@pytest.fixture(autouse=True)
def clean_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """Waits after each test until no slot is used and no task is listed."""
    yield
    if "running" not in request.fixturenames:
        return
    stack: Stack = request.getfixturevalue("running")
    headers = {"Authorization": f"Bearer {stack.token}"}
    with httpx.Client(base_url=stack.url, headers=headers, trust_env=False, timeout=20) as client:
        for task in client.get("/api/v1/tasks").json()["tasks"]:
            reply = client.delete(f"/api/v1/tasks/{task['task_id']}")
            assert reply.is_success or reply.status_code == 409, reply.text  # it may have just ended
    slow_down(stack)
