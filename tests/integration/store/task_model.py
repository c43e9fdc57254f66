"""The expected state of one task, for the tests of random operations."""

from __future__ import annotations

from dataclasses import dataclass, field

from saveany.models import Item, Progress, Status, TaskSpec

STORAGES = ("s1", "s2")
#: What each worker can run.
WORKERS = {"w1": ["tgfiles/s1"], "w2": ["tgfiles/s1", "tgfiles/s2"]}
ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELED)


@dataclass
class TaskModel:
    """The expected state of one task."""

    spec: TaskSpec
    status: Status = Status.QUEUED
    epoch: int = 0
    run: int = 1
    cancel: bool = False
    stop: bool = False
    paused: bool = False
    worker: str = ""
    lapsed: bool = False
    delayed: bool = False
    progress: Progress = field(default_factory=Progress)
    items: list[Item] = field(default_factory=list)
    events_seen: set[str] = field(default_factory=set)

    def verdict(self, epoch: int) -> str:
        """The expected result of a write with that epoch."""
        if self.status is not Status.RUNNING or self.epoch != epoch:
            return "fenced"
        if self.cancel or self.stop:
            return "cancel" if self.cancel else "stop"
        return "pause" if self.paused else "ok"

    @property
    def waits(self) -> bool:
        """Whether the task is queued and waits only for a worker."""
        return self.status is Status.QUEUED and not self.paused and not self.delayed
