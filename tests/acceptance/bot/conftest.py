"""A complete SaveAny with its bot, and a user who writes to the bot with an unmodified client.

To start one takes longer than most tests, so they share one, which is tidied up after each.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.world import Chat
from saveany.store import Db, connect
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person, person

BOT = "sandbox_bot"
#: A second user, who is no admin.
OTHER = samples.USER.id
#: A private channel that the account of the configuration is in.
WATCHED = 1600000001

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a stack share an event loop, too."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def users_and_storages(folder: Path) -> dict[str, Any]:
    """Tables of the configuration that the tests of the bot add to those of every stack."""
    return {
        "users": [{"id": samples.PERSON.id}, {"id": OTHER}],
        "links": {"openings": 0},
        "storages": [
            {"name": "local1", "type": "local", "base_path": str(folder / "files")},
            {"name": "local2", "type": "local", "base_path": str(folder / "more")},
        ],
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("bot")
    async with Stack(folder, tables=users_and_storages(folder)) as stack:
        watched = Chat(id=WATCHED, title="Rock & Roll", members={samples.USER.id})
        stack.sandbox.world.add_chat(watched)  # now: dialogs are not read again so soon
        await stack.start_bot()
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(shared_stack: Stack) -> AsyncIterator[Stack]:
    """The shared stack without tasks and preferences; messages and history of earlier tests remain."""
    yield shared_stack
    await _reset(shared_stack)


@pytest_asyncio.fixture(loop_scope="session")
async def anna(stack: Stack) -> AsyncIterator[Person]:
    async with person(stack.sandbox) as one:
        yield one


@pytest.fixture
def history(stack: Stack) -> Callable[[], Awaitable[list[Any]]]:
    """Returns the tasks that have ended since the test began."""
    began = datetime.now(UTC).isoformat()

    async def ask() -> list[Any]:
        page = await stack.client.get("/api/v1/history", params={"from": began})
        found: list[Any] = page.json()["tasks"]
        return found

    return ask


def contains(part: str) -> Callable[[Any], bool]:
    """Whether a message contains a text."""
    return lambda message: part in (message.text or "")


def has_button(label: str) -> Callable[[Any], bool]:
    """Whether a message has a button with that label."""
    return lambda message: any(label in button.text for row in message.buttons or () for button in row)


@asynccontextmanager
async def database(stack: Stack) -> AsyncIterator[Db]:
    """A connection to the Redis of the stack, which may just be starting."""
    db = connect(stack.redis_url)
    yield db
    await db.close()


async def kill_bot(stack: Stack) -> None:
    """SIGKILL the bot and delete its lock, for which the next bot would have to wait."""
    await stack.kill(stack.bots[0])
    async with database(stack) as db:
        await db.do("DEL", "sa:bot:lock")


async def _reset(stack: Stack) -> None:
    """Wait for the end of all tasks of the test, and delete the preferences it has set."""
    stack.sandbox.faults.clear()
    for task in (await stack.client.get("/api/v1/tasks")).json()["tasks"]:
        await stack.client.delete(f"/api/v1/tasks/{task['task_id']}")
    async with database(stack) as db:

        async def is_quiet() -> bool:
            return not await db.do("EXISTS", "sa:live", "sa:bot:inbox", "sa:running", "sa:queued")

        await until(is_quiet)
        await db.do("DEL", "sa:people", "sa:watches", "sa:watches:tasks")
    stack.sandbox.faults.add("total_rate=1000000,file=1006")  # over a minute: a busy machine is in time
    for folder in (stack.storage_dir, stack.folder / "more"):
        for path in folder.glob("[!.]*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
