"""Random sequences of operations on tasks, compared with a simple model, in a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from saveany.catalogue import HistoryFilter
from saveany.catalogue.catalogue import Catalogue
from saveany.errors import CancelRequested, Fenced, PauseRequested, StopRequested
from saveany.ids import new_id
from saveany.models import Delivery, Item, ItemStatus, Progress, Stage, Status, TaskSpec
from saveany.store import Claim, Store, connect
from tests.integration.store.task_model import ENDS, STORAGES, WORKERS, TaskModel

T = TypeVar("T")


class Lifecycle(RuleBasedStateMachine):
    """`tasks` are ids; `claims` are all claims ever made, most of them outdated."""

    url = ""
    tasks = Bundle("tasks")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.db = connect(self.url)
        self.store = Store(self.db)
        self.folder = TemporaryDirectory()
        self.catalogue = Catalogue("", Path(self.folder.name), self.store)
        self.model: dict[str, TaskModel] = {}
        self.gone: set[str] = set()
        self.queue_paused = False
        self.do(self.db.do("FLUSHALL"))

    def teardown(self) -> None:
        self.do(self.catalogue.close())
        self.do(self.db.close())
        self.runner.close()
        self.folder.cleanup()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def attempt(self, work: Coroutine[Any, Any, None]) -> str:
        """The result of a write of a claim."""
        try:
            self.do(work)
        except Fenced:
            return "fenced"
        except CancelRequested:
            return "cancel"
        except StopRequested:
            return "stop"
        except PauseRequested:
            return "pause"
        return "ok"

    def of(self, claim: Claim) -> TaskModel:
        """The model of a claim's task; a removed task behaves like an ended one."""
        lost = TaskModel(claim.task.spec, status=Status.FAILED)
        return self.model.get(claim.task.id, lost)

    # What users do.

    @rule(
        target=tasks, user=st.integers(1, 2), storage=st.sampled_from(STORAGES), priority=st.integers(-1, 1)
    )
    def accept(self, user: int, storage: str, priority: int) -> str:
        spec = TaskSpec(
            id=new_id(), type="tgfiles", links=("x",), user_id=user, storage=storage, priority=priority
        )
        accepted = self.do(self.store.tasks.accept(spec, "title"))
        assert accepted is not None
        assert not accepted.replayed
        self.model[spec.id] = TaskModel(spec)
        return spec.id

    @rule(task=tasks)
    def accept_again_after_a_lost_reply(self, task: str) -> None:
        if task in self.gone:
            return
        accepted = self.do(self.store.tasks.accept(self.model[task].spec, "title"))
        assert accepted is not None
        assert (accepted.id, accepted.replayed) == (task, False)

    @rule(task=tasks)
    def cancel(self, task: str) -> None:
        model = self.model.get(task)
        run = model.run if model else 0
        answer = self.do(self.store.tasks.cancel(task, [delivery(task, run, "canceled")]))
        if model is None:
            assert answer == "unknown"
        elif model.status is Status.QUEUED:
            assert answer == "canceled"
            self.end(model, Status.CANCELED)
        elif model.status is Status.RUNNING:
            assert answer == "requested"
            model.cancel = True
        else:
            assert answer == "ended"

    @rule(task=tasks)
    def pause(self, task: str) -> None:
        model = self.model.get(task)
        answer = self.do(self.store.tasks.pause(task))
        if model is None:
            assert answer == "unknown"
        elif model.status.ended or model.cancel or model.stop:
            assert answer == "ended"
        else:
            assert answer == ("paused" if model.status is Status.QUEUED else "requested")
            model.paused = True

    @rule(task=tasks)
    def stop(self, task: str) -> None:
        model = self.model.get(task)
        answer = self.do(self.store.tasks.stop(task))
        if model is None:
            assert answer == "unknown"
        elif model.status.ended or model.cancel:
            assert answer == "ended"
        elif not model.items:
            assert answer == "empty"
        else:
            assert answer == "requested"
            model.stop, model.paused = True, False
            model.delayed = model.delayed and model.status is not Status.QUEUED

    @rule(task=tasks)
    def resume(self, task: str) -> None:
        model = self.model.get(task)
        answer = self.do(self.store.tasks.resume(task))
        if model is None:
            assert answer == "unknown"
        elif model.status.ended or model.cancel:
            assert answer == "ended"
        else:
            assert answer == "resumed"
            model.paused = False

    @rule()
    def pause_or_resume_the_queue(self) -> None:
        settings = self.store.settings
        self.do(settings.resume() if self.queue_paused else settings.pause())
        self.queue_paused = not self.queue_paused
        assert self.do(settings.paused()) == self.queue_paused

    @rule(task=tasks)
    def retry(self, task: str) -> None:
        found = self.do(self.store.tasks.get(task))
        if found is None:
            assert task in self.gone
            return
        model = self.model[task]
        answer = self.do(self.store.tasks.retry(found))
        assert answer is (model.status in (Status.FAILED, Status.CANCELED))
        if answer:
            model.status, model.run, model.cancel = Status.QUEUED, model.run + 1, False
            model.items = [retried(item) for item in model.items]
            # A retry that saw an older state of the task does nothing.
            assert not self.do(self.store.tasks.retry(found))

    # What workers do.

    @rule(target=claims, worker=st.sampled_from(sorted(WORKERS)), most=st.integers(0, 2))
    def claim(self, worker: str, most: int) -> Any:
        full = {user for user in (1, 2) if most and len(self.running_of(user)) >= most}
        ready = {
            task
            for task, model in self.model.items()
            if model.waits and model.spec.lane in WORKERS[worker] and model.spec.user_id not in full
        }
        if self.queue_paused:
            ready = set()
        claim = self.do(self.store.claims.claim(worker, WORKERS[worker], tasks_per_user=most))
        if claim is None:
            assert not ready
            return multiple()
        assert claim.task.id in ready
        model = self.model[claim.task.id]
        ahead = [self.model[each] for each in ready if self.model[each].spec.user_id == model.spec.user_id]
        assert model.spec.priority == max(each.spec.priority for each in ahead)
        model.status, model.epoch, model.worker = Status.RUNNING, model.epoch + 1, worker
        model.lapsed = False
        assert (claim.task.epoch, claim.task.status, claim.items) == (model.epoch, model.status, model.items)
        return claim

    @rule(claim=claims, got=st.integers(0, 100))
    def progress(self, claim: Claim, got: int) -> None:
        model, progress = self.of(claim), Progress(total_bytes=100, downloaded_bytes=got)
        expected = model.verdict(claim.task.epoch)
        assert self.attempt(claim.progress(Stage.DOWNLOADING, progress)) == expected
        if expected == "ok":
            model.progress = progress

    @rule(claim=claims, files=st.integers(1, 3))
    def plan(self, claim: Claim, files: int) -> None:
        model = self.of(claim)
        if model.items:
            return  # a plan is made once
        items = [Item(index=n, name=f"f{n}", path=f"f{n}", size=1) for n in range(files)]
        expected = model.verdict(claim.task.epoch)
        assert self.attempt(claim.plan("planned", items, Progress(), [])) == expected
        if expected == "ok":
            model.items, model.progress = items, Progress()

    @rule(claim=claims, status=st.sampled_from(list(ItemStatus)), even_canceled=st.booleans())
    def item(self, claim: Claim, status: ItemStatus, even_canceled: bool) -> None:
        model = self.of(claim)
        index = len(model.items) - 1
        item = Item(index=max(0, index), name="f", path="f", status=status)
        expected = model.verdict(claim.task.epoch)
        if expected == "ok" and not model.items:
            return
        stopping = expected in ("cancel", "stop", "pause")
        if stopping and even_canceled and model.items:
            expected = "ok"
        elif stopping and even_canceled:
            return
        assert self.attempt(claim.item(item, even_canceled=even_canceled)) == expected
        if expected == "ok":
            model.items[index] = item

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        model = self.of(claim)
        expected = model.verdict(claim.task.epoch)
        assert self.attempt(claim.renew()) == expected
        if expected != "fenced":
            model.lapsed = False

    @rule(claim=claims, delayed=st.booleans())
    def release(self, claim: Claim, delayed: bool) -> None:
        model = self.of(claim)
        expected = model.verdict(claim.task.epoch)
        expected = {"pause": "ok", "stop": "ok"}.get(expected, expected)
        assert self.attempt(claim.release(3_600_000 if delayed else 0)) == expected
        if expected == "ok":
            model.status, model.delayed = Status.QUEUED, delayed

    @rule(claim=claims, status=st.sampled_from(ENDS))
    def finish(self, claim: Claim, status: Status) -> None:
        model = self.of(claim)
        expected = model.verdict(claim.task.epoch)
        expected = {"pause": "ok", "stop": "ok"}.get(expected, expected)
        if expected == "cancel" and status is Status.CANCELED:
            expected = "ok"
        told = delivery(claim.task.id, model.run, status)
        assert self.attempt(claim.finish(status, deliveries=[told])) == expected
        if expected == "ok":
            self.end(model, status)

    # What goes wrong, and what puts it right.

    @rule(task=tasks)
    def lease_expires(self, task: str) -> None:
        model = self.model.get(task)
        if model and model.status is Status.RUNNING:
            self.do(self.db.do("ZADD", "sa:leases", "XX", 1, task))
            model.lapsed = True

    @rule(worker=st.sampled_from(sorted(WORKERS)))
    def worker_death_is_detected(self, worker: str) -> None:
        mine = [m for m in self.model.values() if m.status is Status.RUNNING and m.worker == worker]
        assert self.do(self.store.claims.expire_leases(worker)) == len(mine)
        for model in mine:
            model.lapsed = True

    @rule()
    def delays_expire(self) -> None:
        for task, model in self.model.items():
            if model.delayed:
                self.do(self.db.do("ZADD", "sa:delayed", "XX", 1, task))
                self.do(self.db.do("HSET", f"sa:task:{task}", "wake", 1))
                model.delayed = not model.paused

    @rule(target=claims, judge=st.booleans())
    def reconcile(self, judge: bool) -> Any:
        due = {m.decode() for m in self.do(self.db.do("ZRANGEBYSCORE", "sa:delayed", 0, 1))}
        found = self.do(self.store.claims.reconcile(check_leases=judge))
        lapsed = [m for m in self.model.values() if m.status is Status.RUNNING and m.lapsed and judge]
        canceled = {m.spec.id: m for m in lapsed if m.cancel}
        returned = [m for m in lapsed if not m.cancel]
        waiting = {m.spec.user_id for m in self.model.values() if m.waits}
        waiting |= {m.spec.user_id for m in returned if not m.paused}
        waiting |= {self.model[task].spec.user_id for task in due}
        assert self.do(self.db.do("ZCARD", "sa:users")) == len(waiting)
        for lane in () if self.queue_paused else self.do(self.store.claims.lanes()):
            assert self.do(self.db.do("EXISTS", f"sa:wake:{lane}"))
        assert (found.returned, found.woken) == (len(returned), len(due))
        assert {task for task, _ in found.canceled} == set(canceled)
        for model in returned:
            model.status = Status.QUEUED
        for task in due:
            self.model[task].delayed = False
        taken = []
        for task, epoch in found.canceled:
            model = canceled[task]
            model.epoch, model.lapsed = model.epoch + 1, False
            assert epoch == model.epoch
            current = self.do(self.store.tasks.get(task))
            assert current is not None
            taken.append(self.store.claims.take_over(current, model.items))
        return multiple(*taken)

    @precondition(lambda self: any(m.status.ended for m in self.model.values()))
    @rule()
    def forget(self) -> None:
        remains = [self.do(self.store.workers.leftovers(storage, 1000)) for storage in STORAGES]
        left = {task for each in remains for task, _ in each}
        ended = [task for task, model in self.model.items() if model.status.ended and task not in left]
        self.do(self.catalogue.history.clear())
        for task in ended:
            del self.model[task]
            self.gone.add(task)

    def end(self, model: TaskModel, status: Status) -> None:
        model.status, model.delayed, model.cancel, model.paused = status, False, False, False
        model.stop = False
        model.events_seen.add(delivery(model.spec.id, model.run, status).id)

    # What must hold after each of these.

    @invariant()
    def records_are_as_expected(self) -> None:
        found = {task.id: task for task in self.do(self.store.tasks.get_many(list(self.model)))}
        assert found.keys() == self.model.keys()
        for task, model in self.model.items():
            record = found[task]
            assert (record.status, record.epoch, record.run) == (model.status, model.epoch, model.run)
            requested = (record.cancel_requested, record.stop_requested, record.paused)
            assert requested == (model.cancel, model.stop, model.paused)
            assert record.progress == model.progress
            assert self.do(self.store.tasks.all_items(task)) == model.items
            told = {each.id for each in self.do(self.store.outbox.of_task(task))}
            assert told == model.events_seen

    @invariant()
    def each_task_is_in_exactly_one_place(self) -> None:
        by_status = {status: self.those(lambda m, s=status: m.status is s) for status in Status}
        ended = self.those(lambda m: m.status.ended)
        assert self.members("queued") == self.those(lambda m: m.status is Status.QUEUED and not m.paused)
        assert self.members("paused") == self.those(lambda m: m.status is Status.QUEUED and m.paused)
        assert self.members("running") == self.members("leases") == by_status[Status.RUNNING]
        history = self.do(self.catalogue.history.page(HistoryFilter(), 1000)).tasks
        assert {task.id for task in history} == ended
        assert self.members("delayed") == self.those(lambda m: m.delayed and not m.paused)
        for user in (1, 2):
            running = {member.decode() for member in self.do(self.db.do("SMEMBERS", f"sa:running:{user}"))}
            assert running == self.running_of(user)
        for user in (1, 2):
            found = {member.decode() for member in self.do(self.db.do("SMEMBERS", f"sa:running:{user}"))}
            assert found == self.those(lambda m, u=user: m.status is Status.RUNNING and m.spec.user_id == u)
        for status in ENDS:
            assert {task.id for task in history if task.status is status} == by_status[status]
        for storage in STORAGES:
            mine = self.those(lambda m, s=storage: m.spec.storage == s)
            assert {task.id for task in history if task.spec.storage == storage} == ended & mine
        live = self.do(self.store.tasks.live())
        assert {task.id for task in live} == by_status[Status.QUEUED] | by_status[Status.RUNNING]

    @invariant()
    def the_user_ring_holds_exactly_the_ready_tasks(self) -> None:
        ready = [m for m in self.model.values() if m.waits]
        assert self.members("users") == {str(m.spec.user_id) for m in ready}
        for user in (1, 2):
            lanes = {m.spec.lane for m in ready if m.spec.user_id == user}
            found = {lane.decode() for lane in self.do(self.db.do("SMEMBERS", f"sa:lanes:{user}"))}
            assert found == lanes
            for storage in STORAGES:
                mine = self.those(
                    lambda m, u=user, s=storage: m in ready and (m.spec.user_id, m.spec.storage) == (u, s)
                )
                assert self.members(f"ready:{user}:tgfiles/{storage}") == mine

    @invariant()
    def only_canceled_tasks_need_clean_up(self) -> None:
        for storage in STORAGES:
            for task, epoch in self.do(self.store.workers.leftovers(storage)):
                model = self.model.get(task)
                assert task in self.gone or (
                    model and (model.status, model.epoch) == (Status.CANCELED, epoch)
                )

    @invariant()
    def every_key_belongs_to_a_task(self) -> None:
        for key in self.do(self.db.do("KEYS", "sa:*")):
            kind, _, rest = key.decode().removeprefix("sa:").partition(":")
            if rest and kind in ("task", "items", "deliveries", "checkpoints"):
                assert rest in self.model, key
            if kind == "delivery":
                assert rest.split("_")[1] in self.model, key

    @invariant()
    def the_last_event_of_a_task_has_its_state(self) -> None:
        last: dict[str, str] = {}
        stage: dict[str, str] = {}
        for _, fields in self.do(self.db.do("XRANGE", "sa:events", "-", "+")):
            last[fields[b"task"].decode()] = fields[b"status"].decode()
            stage[fields[b"task"].decode()] = fields[b"stage"].decode()
        for task, model in self.model.items():
            assert last[task] == model.status
            assert (stage[task] == "paused") is (model.paused and model.status is Status.QUEUED)

    def running_of(self, user: int) -> set[str]:
        return self.those(lambda m: m.status is Status.RUNNING and m.spec.user_id == user)

    def those(self, condition: Any) -> set[str]:
        return {task for task, model in self.model.items() if condition(model)}

    def members(self, key: str) -> set[str]:
        return {member.decode() for member in self.do(self.db.do("ZRANGE", f"sa:{key}", 0, -1))}


def delivery(task: str, run: int, status: str) -> Delivery:
    return Delivery(
        id=f"msg_{task}_{run}_{status}", task_id=task, event=f"task.{status}", url="http://x/", body="{}"
    )


def retried(item: Item) -> Item:
    if item.status.done or item.status is ItemStatus.FINISHING:
        return item
    return msgspec.structs.replace(item, status=ItemStatus.QUEUED, error="", failures=0)


@pytest.mark.timeout(600)  # a failure takes long to be made small
def test_lifecycle(valkey_url: str, patient: None) -> None:
    class Here(Lifecycle):
        url = valkey_url

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
