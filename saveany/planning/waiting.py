"""Why a queued task does not start, and why a running one makes no progress, as texts for a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from saveany import advice
from saveany.config import Config
from saveany.models import Status, Task, WorkerInfo
from saveany.planning.available import machine_problem, source_problem, storage_problem
from saveany.sources import sources
from saveany.texts import Field, Text, loaded


class WaitingReasons(msgspec.Struct, frozen=True):
    """Whatever decides when tasks start and continue, read once for any number of tasks."""

    config: Config
    now: int = 0  # by the clock of Redis
    queue_paused: bool = False
    tasks_per_user: int = 0  # 0: no limit
    workers: Sequence[WorkerInfo] = ()
    running: Mapping[int, int] = {}  # user id -> number of running tasks

    def waiting_text(self, task: Task) -> Text | None:
        """Why a task is queued, or is running without progress. None if it has ended, makes progress, or is
        about to start."""
        if task.status is Status.RUNNING and not task.paused and not task.cancel_requested:
            return self._stalled(task)
        if task.status is not Status.QUEUED:
            return None
        return self._paused(task) or self._delayed(task) or self._unsupported(task) or self._busy(task)

    def _stalled(self, task: Task) -> Text | None:
        worker = next((each for each in self.workers if each.id == task.worker), None)
        if worker is None:
            return Text("its worker no longer responds; another one takes over after 15 s of silence")
        problems = [loaded(worker.storages.get(name, "")) for name in _storages(task)]
        problems.append(loaded(worker.sources.get(task.spec.type, "")))
        if problem := next(filter(None, problems), None):
            return problem
        return task.progress.stalled_text or (Text(task.progress.stalled) if task.progress.stalled else None)

    def _paused(self, task: Task) -> Text | None:
        if task.paused:
            command = advice.command(f"resume {task.id}")
            return Text("the task is paused; resume it: {command}", {"command": command})
        if self.queue_paused:
            command = advice.command("queue resume")
            return Text("the queue is paused; resume it: {command}", {"command": command})
        return None

    def _delayed(self, task: Task) -> Text | None:
        if task.wake <= self.now:
            return None
        reason = task.reason_text or Text(task.reason or "it was postponed")
        seconds = -((self.now - task.wake) // 1000)
        return Text("{reason}; it continues in {seconds} s", {"reason": reason, "seconds": seconds})

    def _unsupported(self, task: Task) -> Text | None:
        """The source or storage of the task that no worker can use."""
        problems = [storage_problem(name, self.workers) for name in _storages(task)]
        if source := sources().get(task.spec.type):
            problems.insert(0, source_problem(self.config, source, self.workers))
        problems.append(machine_problem(task.spec.machine, self.workers))
        return next(filter(None, problems), None)

    def _busy(self, task: Task) -> Text | None:
        user = task.spec.user_id
        count = self.running.get(user, 0)
        source = sources().get(task.spec.type)
        is_live = source is not None and source.slots == "live"
        if 0 < self.tasks_per_user <= count and not is_live:
            fields: dict[str, Field] = {"user": user, "count": count}
            return Text("user {user} has reached the limit tasks_per_user ({count} running)", fields)
        able = [worker for worker in self.workers if _can_run(worker, task)]
        if not able:
            return Text("no single worker has both the source and the storage of this task")
        if is_live:
            return _all_record(able)
        if not all(worker.is_busy for worker in able):
            return None
        if task.yields:
            return Text("it made room for a task of another user; it continues when a slot is free")
        slots = sum(worker.slots for worker in able)
        return Text("all slots are busy ({slots} of {slots}); it starts when one is free", {"slots": slots})


def _all_record(able: Sequence[WorkerInfo]) -> Text | None:
    """Why a recording waits for these workers; None if one of them is about to take it."""
    if not all(worker.records_no_more for worker in able):
        return None
    return Text(
        "all slots for recordings are busy ({slots} of {slots}); it starts when one is free; [live] "
        "recordings sets how many there are",
        {"slots": sum(worker.live_slots for worker in able)},
    )


def _can_run(worker: WorkerInfo, task: Task) -> bool:
    spec = task.spec
    needed = [worker.storages.get(name) for name in _storages(task)]
    is_there = spec.machine in ("", worker.machine)
    return is_there and all(problem == "" for problem in [*needed, worker.sources.get(spec.type)])


def _storages(task: Task) -> list[str]:
    return [name for name in (task.spec.source_storage, task.spec.storage) if name]
