"""Why a queued task is not begun, and why a running one stands still, in words for a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from saveany import advice
from saveany.config import Config
from saveany.models import Status, Task
from saveany.planning.available import source_problem, storage_problem
from saveany.sources import sources
from saveany.store import WorkerInfo


class WaitingReasons(msgspec.Struct, frozen=True):
    """What decides when tasks are begun and go on, as it is now. Read once for any number of tasks."""

    config: Config
    now: int = 0
    queue_paused: bool = False
    tasks_per_user: int = 0
    workers: Sequence[WorkerInfo] = ()
    running: Mapping[int, int] = {}  # user -> running tasks

    def waiting(self, task: Task) -> str:
        """Why a task is queued, or running without getting on; "" if it has ended, gets on, or is about to be
        begun."""
        if task.status is Status.RUNNING and not task.paused and not task.cancel_requested:
            return self._stalled(task)
        if task.status is not Status.QUEUED:
            return ""
        told = (self._held(task), self._delayed(task), self._missing(task), self._busy(task))
        return next(filter(None, told), "")

    def _stalled(self, task: Task) -> str:
        worker = next((each for each in self.workers if each.id == task.worker), None)
        if worker is None:
            return "its worker has gone silent; another one takes the task over when it has been for 15 s"
        problems = [worker.storages.get(name, "") for name in _storages(task)]
        return next(filter(None, problems), task.progress.stalled)

    def _held(self, task: Task) -> str:
        if task.paused:
            return f"the task is paused; resume it: {advice.command(f'resume {task.id}')}"
        if self.queue_paused:
            return f"the queue is paused; resume it: {advice.command('queue resume')}"
        return ""

    def _delayed(self, task: Task) -> str:
        if task.wake <= self.now:
            return ""
        seconds = -((self.now - task.wake) // 1000)
        return f"{task.reason or 'it was put off'}; it goes on in {seconds} s"

    def _missing(self, task: Task) -> str:
        """What no worker has that the task needs."""
        spec = task.spec
        problems = [storage_problem(name, self.workers) for name in _storages(task)]
        if source := sources().get(spec.type):
            problems.insert(0, source_problem(self.config, source, self.workers))
        return next(filter(None, problems), "")

    def _busy(self, task: Task) -> str:
        user = task.spec.user_id
        count = self.running.get(user, 0)
        if 0 < self.tasks_per_user <= count:
            return f"user {user} has {count} running tasks, as many as tasks_per_user allows"
        able = [worker for worker in self.workers if _can_run(worker, task)]
        if not able:
            return "no running worker has all that this task needs: its source and its storage"
        busy = all(0 < worker.slots <= len(worker.tasks) for worker in able)
        if busy and task.yields:
            return (
                "it made room for a task of another user; it goes on, from where it was, when a slot is free"
            )
        if busy:
            return f"all {sum(worker.slots for worker in able)} slots are busy; it begins when one is free"
        return ""


def _can_run(worker: WorkerInfo, task: Task) -> bool:
    spec = task.spec
    needed = [worker.storages.get(name) for name in _storages(task)]
    return all(problem == "" for problem in [*needed, worker.sources.get(spec.type)])


def _storages(task: Task) -> list[str]:
    return [name for name in (task.spec.source_storage, task.spec.storage) if name]
