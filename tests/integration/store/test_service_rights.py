"""A user can neither use nor detect the tasks of other users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import Forbidden, InvalidInput, NotFound, WrongState
from saveany.service import OPERATOR, Principal, QueueService, TaskRequest, TaskService
from saveany.store import Store

ANNA, BERT = Principal(11), Principal(12)
ADMIN = Principal(13, is_operator=True)
REQUEST = TaskRequest(links=["https://t.me/channel/1"])


@pytest.fixture
def config() -> Config:
    return Config.model_validate(
        {
            "users": [{"id": 13}, {"id": 11}, {"id": 12, "storages": ["there"]}],
            "storages": [{"name": name, "type": "memory", "space": name} for name in ("here", "there")],
        }
    )


@pytest.fixture
def tasks(config: Config, store: Store, catalogue: Catalogue) -> TaskService:
    return TaskService(config, store, catalogue)


async def test_a_task_belongs_to_its_principal(tasks: TaskService) -> None:
    accepted = await tasks.submit(ANNA, REQUEST)
    task = await tasks.get(ANNA, accepted.id)
    assert (task.spec.user_id, task.spec.storage, accepted.type) == (11, "here", "tgfiles")
    assert (await tasks.get(BERT, (await tasks.submit(BERT, REQUEST)).id)).spec.storage == "there"


async def test_the_operator_chooses_the_user(tasks: TaskService) -> None:
    first = await tasks.submit(OPERATOR, REQUEST)
    chosen = await tasks.submit(ADMIN, TaskRequest(links=REQUEST.links, user_id=11))
    own = await tasks.submit(ADMIN, REQUEST)
    users = [(await tasks.get(OPERATOR, each.id)).spec.user_id for each in (first, chosen, own)]
    assert users == [13, 11, 13]
    with pytest.raises(Forbidden, match="user 99 is not configured"):
        await tasks.submit(OPERATOR, TaskRequest(links=REQUEST.links, user_id=99))


async def test_nobody_else_creates_tasks_for_a_user(tasks: TaskService) -> None:
    with pytest.raises(Forbidden, match="only for yourself"):
        await tasks.submit(BERT, TaskRequest(links=REQUEST.links, user_id=11))


async def test_all_or_none_of_several_requests_become_tasks(tasks: TaskService) -> None:
    bad = TaskRequest(links=["ldap://example.com"])
    with pytest.raises(InvalidInput):
        await tasks.submit_all(ANNA, [REQUEST, bad], key="card")
    assert await tasks.list(OPERATOR) == []
    made = await tasks.submit_all(ANNA, [REQUEST, REQUEST], key="card")
    again = await tasks.submit_all(ANNA, [REQUEST, REQUEST], key="card")
    assert [each.id for each in made] == [each.id for each in again]
    assert len(await tasks.list(OPERATOR)) == 2


OPERATIONS: dict[str, Callable[[TaskService, Principal, str], Awaitable[Any]]] = {
    "get": lambda tasks, who, task_id: tasks.get(who, task_id),
    "items": lambda tasks, who, task_id: tasks.items(who, task_id, 0, 10),
    "cancel": lambda tasks, who, task_id: tasks.cancel(who, task_id),
    "pause": lambda tasks, who, task_id: tasks.pause(who, task_id),
    "stop": lambda tasks, who, task_id: tasks.stop(who, task_id),
    "resume": lambda tasks, who, task_id: tasks.resume(who, task_id),
    "prioritize": lambda tasks, who, task_id: tasks.prioritize(who, task_id, 5),
    "retry": lambda tasks, who, task_id: tasks.retry(who, task_id),
    "remove": lambda tasks, who, task_id: tasks.history.remove(who, task_id),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_task_of_another_user_does_not_exist(tasks: TaskService, name: str) -> None:
    task_id = (await tasks.submit(ANNA, REQUEST)).id
    before = await tasks.get(ANNA, task_id)
    with pytest.raises(NotFound, match=f"there is no task {task_id}"):
        await OPERATIONS[name](tasks, BERT, task_id)
    assert await tasks.get(ANNA, task_id) == before
    for allowed in (ANNA, ADMIN, OPERATOR):
        try:
            await OPERATIONS[name](tasks, allowed, task_id)
        except WrongState:
            assert name in ("cancel", "stop", "retry", "remove") or allowed is not ANNA


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_unknown_task_is_not_found(tasks: TaskService, name: str) -> None:
    for principal in (ANNA, OPERATOR):
        if name != "items" or principal is ANNA:
            with pytest.raises(NotFound, match="there is no task nope"):
                await OPERATIONS[name](tasks, principal, "nope")


async def test_lists_hold_only_the_tasks_of_the_user(tasks: TaskService) -> None:
    mine = (await tasks.submit(ANNA, REQUEST)).id
    other = (await tasks.submit(BERT, REQUEST)).id
    assert [each.id for each in await tasks.list(ANNA)] == [mine]
    assert {each.id for each in await tasks.list(OPERATOR)} == {mine, other}
    assert [each.id for each in await tasks.list(ADMIN, 12)] == [other]
    assert [each.id for each in (await tasks.page(BERT, 10)).tasks] == [other]
    with pytest.raises(NotFound, match="not to user 12"):
        await tasks.list(ANNA, 12)
    await tasks.cancel(ANNA, mine)
    await tasks.cancel(BERT, other)
    assert [each.id for each in (await tasks.history.page(ANNA, HistoryFilter())).tasks] == [mine]
    assert len((await tasks.history.page(ADMIN, HistoryFilter())).tasks) == 2
    with pytest.raises(NotFound, match="not to user 12"):
        await tasks.history.page(ANNA, HistoryFilter(user_id=12))
    assert await tasks.history.clear(ANNA) == 1
    assert [each.id for each in (await tasks.history.page(ADMIN, HistoryFilter())).tasks] == [other]


async def test_only_the_operator_changes_what_concerns_all_users(
    config: Config, store: Store, tasks: TaskService
) -> None:
    queue = QueueService(config, store)
    for change in (queue.pause(ANNA), queue.resume(ANNA), queue.set_limits(ANNA, {"tasks_per_user": 1})):
        with pytest.raises(Forbidden, match="administrator"):
            await change
    await queue.pause(ADMIN)
    assert await queue.is_paused()
    await queue.set_limits(ADMIN, {"tasks_per_user": 1})
    assert (await queue.limits()).tasks_per_user == 1


def test_a_principal_without_a_user_is_the_operator() -> None:
    with pytest.raises(ValueError, match="is the operator"):
        Principal()
