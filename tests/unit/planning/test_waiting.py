"""Why a task does not start or makes no progress."""

from __future__ import annotations

from typing import Any

import pytest

from saveany.config import Config
from saveany.models import Progress, Status, Task, TaskSpec
from saveany.planning.waiting import WaitingReasons
from saveany.store import WorkerInfo
from saveany.texts import StoredText, Text

STALLED = Progress(stalled="no bytes have come")


def task(status: Status, **more: Any) -> Task:
    spec = TaskSpec(id="1", type="transfer", links=("a",), user_id=1, storage="box", source_storage="nas")
    return Task(spec=spec, status=status, title="", created_at=1, updated_at=1, worker="w", **more)


def test_a_recording_waits_for_the_slots_of_recordings() -> None:
    """Neither downloads nor the limit of running tasks hold it up."""

    def waiting(**slots: Any) -> str:
        worker = WorkerInfo(
            id="w", host="h", pid=1, started_at=1, storages={"box": ""}, sources={"live": ""}, **slots
        )
        spec = TaskSpec(id="1", type="live", links=("@a",), user_id=1, storage="box")
        queued = Task(spec=spec, status=Status.QUEUED, title="", created_at=1, updated_at=1)
        reasons = WaitingReasons(Config(), tasks_per_user=1, workers=[worker], running={1: 1})
        return str(reasons.waiting_text(queued) or "")

    assert waiting(slots=1, slots_in_use=1, live_slots=2, live_slots_in_use=1) == ""
    told = waiting(slots=1, slots_in_use=0, live_slots=2, live_slots_in_use=2)
    assert told.startswith("all slots for recordings are busy (2 of 2); it starts when one is free")


def outlook(**storages: StoredText) -> WaitingReasons:
    worker = WorkerInfo(
        id="w",
        host="h",
        pid=1,
        started_at=1,
        slots=1,
        tasks=["2"],
        storages={"box": "", "nas": "", **storages},
        sources={"transfer": ""},
    )
    return WaitingReasons(Config(), workers=[worker])


@pytest.mark.parametrize(
    ("running", "storages", "told"),
    [
        (task(Status.RUNNING), {}, ""),
        (task(Status.RUNNING, progress=STALLED), {}, "no bytes have come"),
        (task(Status.RUNNING, progress=STALLED), {"box": "the box hangs"}, "the box hangs"),
        (task(Status.RUNNING), {"nas": "the nas hangs"}, "the nas hangs"),
        (task(Status.RUNNING, progress=STALLED, paused=True), {"nas": "the nas hangs"}, ""),
        (task(Status.RUNNING, cancel_requested=True), {"nas": "the nas hangs"}, ""),
        (task(Status.COMPLETED, progress=STALLED), {"nas": "the nas hangs"}, ""),
    ],
)
def test_a_running_task_without_progress_names_the_reason(
    running: Task, storages: dict[str, str], told: str
) -> None:
    assert str(outlook(**storages).waiting_text(running) or "") == told


def test_the_problem_of_a_storage_is_translatable() -> None:
    problem = Text(
        "storage {storage!r}: its folder does not respond; does the disk hang?", {"storage": "box"}
    )
    assert outlook(box=problem).waiting_text(task(Status.RUNNING)) == problem
    assert outlook(box=problem).waiting_text(task(Status.QUEUED)) == problem
    assert outlook(box="it hangs").waiting_text(task(Status.QUEUED)) == Text("it hangs")


def test_an_unresponsive_worker_is_reported() -> None:
    assert "no longer responds" in str(WaitingReasons(Config()).waiting_text(task(Status.RUNNING)))


def test_a_task_that_yielded_its_slot_says_so() -> None:
    assert "made room for a task of another" in str(outlook().waiting_text(task(Status.QUEUED, yields=1)))
    assert "all slots are busy" in str(outlook().waiting_text(task(Status.QUEUED)))
    assert "the box hangs" in str(outlook(box="the box hangs").waiting_text(task(Status.QUEUED, yields=1)))
