"""Submitting, reading, canceling, pausing and retrying tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from saveany.config import Config, User
from saveany.errors import Forbidden, KeyReused, NeedsLogin, NotFound, StorageError, Unavailable, WrongState
from saveany.ids import new_id
from saveany.models import Duplicate, Item, Status, Task, TaskSpec, title
from saveany.planning.available import source_problem
from saveany.planning.names import safe_name
from saveany.planning.requests import TaskRequest, plan_request
from saveany.planning.source_choice import source_of
from saveany.planning.waiting import WaitingReasons
from saveany.service.history import TaskHistory
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader, unknown_task
from saveany.service.waiting import read_waiting_reasons
from saveany.sources import LIVE
from saveany.store import Accepted, Store
from saveany.store.results import (
    CancelResult,
    PauseResult,
    PrioritizeResult,
    ResumeResult,
    StopResult,
)
from saveany.store.tasks import TaskPage
from saveany.texts import Text
from saveany.webhooks.builder import DeliveryBuilder

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: Seconds that a cancel, stop or pause waits for the worker to stop before it returns anyway.
_STOP_SECONDS = 3.0
#: Seconds between checks whether the worker has stopped.
_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """What a request would save."""

    spec: TaskSpec
    items: list[Item]  # the first of them, if there are very many
    total: int
    duplicates: Mapping[int, Duplicate]  # files that the user has saved before, by Telegram's id


class TaskService:
    """The operations on tasks.

    All of them raise `NotFound` for a task that does not exist or belongs to another user, and
    `StoreUnavailable` while Redis cannot be reached. Those that read ended tasks raise `CatalogueUnavailable`
    while the database of the catalogue cannot be reached.
    """

    def __init__(self, config: Config, store: Store, catalogue: Catalogue) -> None:
        self._config = config
        self._store = store
        self._catalogue = catalogue
        self._reader = TaskReader(store, catalogue)
        #: The operations on ended tasks.
        self.history = TaskHistory(catalogue, self._reader)
        self._deliveries = DeliveryBuilder.of(config, store.db.time_ms)

    # Creating.

    async def submit(
        self, principal: Principal, request: TaskRequest, *, key: str = "", body_hash: str = ""
    ) -> Accepted:
        """Create a task. A request with the same idempotency `key` within 24 h returns the first task.

        Raises what `plan_request` raises, `Forbidden` for a user who is not configured or whom the principal
        may not act for, and `KeyReused` if `key` came with another `body_hash` before.
        """
        (accepted,) = await self._submit(principal, [(request, key)], body_hash)
        return accepted

    async def check(self, principal: Principal, request: TaskRequest) -> int:
        """Raise as `submit` if the request is not acceptable, without creating a task. Returns the id of the
        user to whom the task would belong."""
        return (await self._specified(principal, request)).user_id

    async def submit_all(
        self, principal: Principal, requests: Sequence[TaskRequest], *, key: str
    ) -> list[Accepted]:
        """Create a task for each of `requests`, or none if one of them is refused. Raises as `submit`."""
        keyed = [(request, f"{key}:{n}") for n, request in enumerate(requests)]
        return await self._submit(principal, keyed, "")

    async def _submit(
        self, principal: Principal, keyed: Sequence[tuple[TaskRequest, str]], body_hash: str
    ) -> list[Accepted]:
        specs = [(await self._specified(principal, request), key) for request, key in keyed]
        accepted = []
        for spec, key in specs:
            named = {"upload": "name", LIVE: "title"}.get(spec.type, "")
            subject = str(spec.params.get(named, "") if named else spec.links[0])
            kept = await self._store.tasks.accept(
                spec,
                title(spec.type, subject, spec.storage, spec.path),
                subject=Text(subject),
                key=key,
                body_hash=body_hash,
            )
            if kept is None:
                raise KeyReused(
                    "this Idempotency-Key was used with another body in the last 24 hours; use a new key"
                )
            accepted.append(kept)
        return accepted

    async def _specified(self, principal: Principal, request: TaskRequest) -> TaskSpec:
        """The specification of a new task."""
        user = self._user(principal, request)
        if request.folder_id is not None:
            request = replace(request, folder=await _folder_path(self._catalogue, user.id, request.folder_id))
        preferences = await self._store.preferences.recent(user.id)
        task_id = request.upload.id if request.upload else request.id or new_id()
        return plan_request(self._config, user, request, preferences, task_id=task_id, group=principal.chat)

    async def resolve(self, principal: Principal, request: TaskRequest) -> ResolvedRequest:
        """What the request would save, without creating a task. Raises as `submit`, `NotFound` if there is
        nothing to save, and `Unavailable` if that cannot be found out now."""
        spec = await self._specified(principal, request)
        source = source_of(self._config, spec.type)
        if problem := source_problem(self._config, source, await self._store.workers.living()):
            raise Unavailable("{type}: {problem}", type=spec.type, problem=problem)
        reply = await self._store.link_queries.send(spec)
        if reply.error:
            later = reply.retryable and reply.error != StorageError.__name__  # that of a missing file
            raise (Unavailable if later or reply.error == NeedsLogin.__name__ else NotFound)(reply.text)
        documents = {
            item.source["document"]: item.size
            for item in reply.items
            if isinstance(item.source.get("document"), int)
        }
        found = await self._catalogue.duplicates.by_document(spec.user_id, documents)
        return ResolvedRequest(spec, reply.items, reply.total, found)

    def _user(self, principal: Principal, request: TaskRequest) -> User:
        """The user to whom the task will belong."""
        user_id = request.user_id if request.user_id is not None else principal.user_id
        if user_id is None:
            if not self._config.users:
                raise Forbidden("no user is configured; add a [[users]] table to config.toml")
            return self._config.users[0]
        if not principal.may_access(user_id):
            raise Forbidden("you may create tasks only for yourself")
        user = self._config.user(user_id)
        if user is None:
            raise Forbidden(
                "user {user} is not configured; add [[users]] with id = {user} to config.toml, or use the id "
                "of a configured user",
                user=user_id,
            )
        return user

    # Reading.

    async def get(self, principal: Principal, task_id: str) -> Task:
        """The task with this id."""
        return await self._reader.visible(principal, task_id)

    async def items(self, principal: Principal, task_id: str, start: int, limit: int) -> list[Item]:
        """The items `start` … `start + limit` of a task, by index."""
        await self._check_access(principal, task_id)
        return await self._reader.items(task_id, start, limit)

    async def list(self, principal: Principal, user_id: int | None = None) -> list[Task]:
        """All tasks that have not ended, oldest first; `user_id` restricts them to one user."""
        return await self._store.tasks.live(principal.visible_user(user_id))

    async def page(
        self, principal: Principal, limit: int, cursor: str = "", user_id: int | None = None
    ) -> TaskPage:
        """At most `limit` of the tasks of `list`, after `cursor`. Raises `InvalidInput` for a bad cursor."""
        return await self._store.tasks.page(principal.visible_user(user_id), limit, cursor)

    async def waiting_reasons(self, tasks: Iterable[Task]) -> WaitingReasons:
        """The reasons why queued tasks among `tasks` do not start, and why running ones make no progress."""
        return await read_waiting_reasons(self._config, self._store, tasks)

    # Changing.

    async def cancel(self, principal: Principal, task_id: str) -> None:
        """Cancel a queued or running task. Returns when it has ended, or after a few seconds if its worker
        does not react.

        Raises `WrongState` if the task had ended before.
        """
        task = await self.get(principal, task_id)
        items = await self._store.tasks.all_items(task_id)
        deliveries = await self._deliveries(task, items, "task.canceled")
        result = await self._store.tasks.cancel(task_id, deliveries)
        if result is CancelResult.ENDED or (task.status.ended and result is CancelResult.UNKNOWN):
            raise WrongState(
                "task {task} has ended already ({status})", task=task_id, status=task.status.value
            )
        await _check_result(self._reader, task_id, result)
        if result is CancelResult.REQUESTED:
            await self._wait_until_stopped(task_id)

    async def pause(self, principal: Principal, task_id: str) -> None:
        """Pause a task until it is resumed. Returns when it is paused, or after a few seconds if its worker
        does not react. A paused task stays paused.

        Raises `WrongState` if the task has ended, even if only while its worker was stopping.
        """
        await self._check_access(principal, task_id)
        result = await self._store.tasks.pause(task_id)
        if result is PauseResult.REQUESTED:
            task = await self._wait_until_stopped(task_id)
            result = PauseResult.ENDED if task and task.status.ended else PauseResult.PAUSED
        await _check_result(self._reader, task_id, result)

    async def stop(self, principal: Principal, task_id: str) -> None:
        """End a task as completed with the files that are saved; the others are not saved any more. Returns
        when it has ended, or after a few seconds if its worker does not react. A task of which no file is
        saved ends as canceled.

        Raises `WrongState` if the task has ended, or if its files have not been looked up.
        """
        await self._check_access(principal, task_id)
        result = await self._store.tasks.stop(task_id)
        if result is StopResult.EMPTY:
            raise WrongState("nothing of task {task} is saved yet; cancel it instead", task=task_id)
        await _check_result(self._reader, task_id, result)
        await self._wait_until_stopped(task_id)

    async def resume(self, principal: Principal, task_id: str) -> None:
        """Continue a paused task; does nothing to one that is not paused. Raises as `pause`."""
        await self._check_access(principal, task_id)
        await _check_result(self._reader, task_id, await self._store.tasks.resume(task_id))

    async def prioritize(self, principal: Principal, task_id: str, priority: int) -> None:
        """Change the priority of a task, -100 … 100.

        Raises `WrongState` if the task has ended, or if its record cannot be read, which must not be
        overwritten.
        """
        task = await self.get(principal, task_id)
        if task.unreadable:
            raise WrongState(
                "the record of task {task} cannot be read: {reason}",
                task=task_id,
                reason=Text(task.unreadable),
            )
        await _check_result(self._reader, task_id, await self._store.tasks.prioritize(task, priority))

    async def retry(self, principal: Principal, task_id: str) -> Task:
        """Queue a failed or canceled task again, for those of its files that are not saved; the new state.

        Raises `WrongState` for a task in another state.
        """
        task = await self.get(principal, task_id)
        if task.status.ended:
            await self._reader.bring_back(task_id)
        if not await self._store.tasks.retry(task):
            raise WrongState(
                "task {task} is {status}; only failed and canceled tasks can be retried",
                task=task_id,
                status=task.status.value,
            )
        return await self._store.tasks.get(task_id) or task

    async def _check_access(self, principal: Principal, task_id: str) -> None:
        if not principal.is_operator:  # whose operations report an unknown task themselves
            await self.get(principal, task_id)

    async def _wait_until_stopped(self, task_id: str) -> Task | None:
        """The task once it no longer runs, or after `_STOP_SECONDS`."""
        deadline = time.monotonic() + _STOP_SECONDS
        while True:
            task = await self._store.tasks.get(task_id)
            if task is None or task.status is not Status.RUNNING or time.monotonic() > deadline:
                return task
            await asyncio.sleep(_CHECK_SECONDS)


async def _check_result(
    reader: TaskReader,
    task_id: str,
    result: CancelResult | PauseResult | StopResult | ResumeResult | PrioritizeResult,
) -> None:
    """Raise `NotFound` or `WrongState` for a result that says so."""
    if result == "unknown" and await reader.get(task_id) is None:
        raise unknown_task(task_id)
    if result in ("ended", "unknown"):  # an ended task may have left Redis
        raise WrongState("task {task} has ended already", task=task_id)


async def _folder_path(catalogue: Catalogue, user_id: int, folder_id: int) -> str:
    """Where a storage has new files of a folder of this user: at its path, made of safe names. Raises
    `NotFound`."""
    if not folder_id:
        return "/"
    folder = await catalogue.folders.get(folder_id)
    if folder is None or folder.user_id != user_id:
        raise NotFound("there is no folder {folder}", folder=folder_id)
    path = (await catalogue.folders.paths([folder_id]))[folder_id]
    return "/".join(safe_name(name) for name in path.split("/") if name)
