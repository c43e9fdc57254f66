"""Claims tasks for this worker and runs each one in a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from saveany import advice
from saveany.config import Config
from saveany.errors import CancelRequested, Fenced, PauseRequested
from saveany.logs import get_logger
from saveany.loops import Signal
from saveany.models import Task, slot_lane
from saveany.sources import sources as source_specs
from saveany.storage_set import StorageSet, lanes
from saveany.store import Claim, Store
from saveany.supervisor import report_working
from saveany.texts import Text
from saveany.webhooks.builder import DeliveryBuilder
from workers.ending import fail_unstarted
from workers.jobs import Job
from workers.limits import Throttle, ThrottledSource
from workers.slots import Slots
from workers.sources.base import Source
from workers.transfer_budget import TransferBudget

log = get_logger("saveany.worker")


#: Maximum number of tasks without a slot that run here at a time: tasks that are looked up, and small ones.
WITHOUT_SLOT = 64
#: Maximum number of tasks that are claimed in one step, so that other workers get their share.
_AT_ONCE = 16
#: Seconds for which a run waits for an earlier run of its task here, before another worker may have the task.
_EARLIER_RUN_SECONDS = 15.0


@dataclass(slots=True, eq=False)
class _Run:
    """The work on one claim. A task that was claimed again while its last run here ends has two of them."""

    job: Job | None = None  # None until it begins
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class TaskRunner:
    """Claims the tasks for which this worker has room, and runs each of them in a `Job`.

    A recording of a live stream takes a slot for recordings, which no download ever waits for or takes.
    Any other task whose source requires a slot is claimed together with one. The others are claimed without a
    slot and looked up; those whose files are large continue if a slot is free, and otherwise return to the
    queue until one is.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        config: Config,
        *,
        machine: str,
        storages: StorageSet,
        sources: Mapping[str, Source],
        throttle: Throttle,
        budget: TransferBudget,
        build_deliveries: DeliveryBuilder,
        changed: Signal,
        leftovers: Signal,
    ) -> None:
        """`machine` is the id of this machine. `changed` is sent when a task starts or stops running here,
        `leftovers` when a task of a dead worker may have left unfinished files in a storage."""
        self.worker = worker
        self.machine = machine
        self._changed = changed
        self._leftovers = leftovers
        self.slots = Slots(config.workers, self._on_free_slot)
        self.live_slots = Slots(config.live.recordings, lambda: self.on_room())
        #: Called when there is room for tasks that may wait in the queue.
        self.on_room: Callable[[], None] = lambda: None
        self._store = store
        self._config = config
        self._storages = storages
        self._sources = sources
        self._throttle = throttle
        self._budget = budget
        self._build_deliveries = build_deliveries
        self._runs: dict[Claim, _Run] = {}
        self._is_claiming = True
        #: Types of tasks that no other worker can run: they run here in spite of a drawback.
        self.only_here: frozenset[str] = frozenset()
        # Whether tasks may wait for a slot, or for room without one.
        self._wait_for_slot = self._wait_for_room = False

    @property
    def running(self) -> list[str]:
        """Ids of the tasks that run here, sorted."""
        return sorted({claim.task.id for claim in self._runs})

    def lanes(self) -> list[str]:
        """Lanes of all tasks that can run here, as soon as there is room: into storages that work, from
        sources that work."""
        return [*self._small_lanes(), *self._slot_lanes(), *self._live_lanes()]

    def open_lanes(self) -> list[str]:
        """Those of the lanes for whose tasks there is room now. Tasks may come to wait in the others."""
        self._wait_for_slot |= not self.slots.free
        self._wait_for_room |= not self._room
        small = self._small_lanes() if self._room else []
        live = self._live_lanes() if self.live_slots.free else []
        return [*small, *(self._slot_lanes() if self.slots.free else []), *live]

    @property
    def _room(self) -> int:
        """Number of tasks that may be claimed without a slot."""
        others = self.slots.holders | self.live_slots.holders
        return max(0, WITHOUT_SLOT - sum(claim not in others for claim in self._runs))

    def _small_lanes(self) -> list[str]:
        """Lanes whose tasks are claimed without a slot."""
        return self._lanes_of(lambda kind, source: not _is_live(kind) and source.is_concurrent)

    def _live_lanes(self) -> list[str]:
        """Lanes whose tasks are recordings."""
        return self._lanes_of(lambda kind, _: _is_live(kind))

    def _slot_lanes(self) -> list[str]:
        """Lanes whose tasks are claimed together with a slot."""
        small = map(slot_lane, self._small_lanes())
        large = self._lanes_of(lambda kind, source: not _is_live(kind) and not source.is_concurrent)
        return [*large, *small]

    def _lanes_of(self, chosen: Callable[[str, Source], bool]) -> list[str]:
        sources = ((kind, each) for kind, each in self._sources.items() if chosen(kind, each))
        kinds = (kind for kind, each in sources if self._is_able(kind, each))
        return lanes(kinds, self._storages.working, [self.machine] if self.machine else [])

    def _is_able(self, kind: str, source: Source) -> bool:
        return not source.problem and (kind in self.only_here or not source.drawback)

    def stop_claiming(self) -> None:
        """Start no more tasks; running tasks continue."""
        self._is_claiming = False

    async def claim(self, wake_up: str = "") -> list[Claim]:
        """Claim tasks for which there is room. `wake_up` is the lane whose wake-up this worker has
        received."""
        if not self._is_claiming:
            return []
        slots, room = min(self.slots.free, _AT_ONCE), min(self._room, _AT_ONCE)
        recordings = min(self.live_slots.free, _AT_ONCE)
        with self.slots.reserved(slots), self.live_slots.reserved(recordings):
            claims = await self._store.claims.claim_several(
                self.worker,
                slot_lanes=self._slot_lanes(),
                slots=slots,
                lanes=self._small_lanes(),
                without_slot=room,
                live_lanes=self._live_lanes(),
                recordings=recordings,
                tasks_per_user=self._config.limits.tasks_per_user,
                wake_up=wake_up,
            )
        for claim in claims:
            self._runs[claim] = _Run()
            if _is_live(claim.task.spec.type):
                self.live_slots.take(claim)
            elif claim.has_slot:
                self.slots.take(claim)
            else:
                self.slots.keep(claim)
        if claims:
            self._changed.send()
        with_slot = sum(claim.has_slot for claim in claims)
        without = len(claims) - with_slot - sum(_is_live(claim.task.spec.type) for claim in claims)
        self._wait_for_slot, self._wait_for_room = with_slot == slots, without == room
        if claims and ((self._wait_for_slot and self.slots.free) or (self._wait_for_room and self._room)):
            self.on_room()
        return claims

    def _on_free_slot(self) -> None:
        if self._wait_for_slot:
            self.on_room()

    async def run(self, claim: Claim) -> None:
        """Work on a claimed task until it has ended, or this worker must leave it to others."""
        run = self._runs[claim]
        try:
            await self._run(claim, run)
        finally:
            del self._runs[claim]
            run.ended.set()
            self.slots.release(claim)
            self.live_slots.release(claim)
            self._changed.send()
            if self._wait_for_room:
                self.on_room()

    async def make_room(self) -> None:
        """If all slots are busy, have tasks here stop for users who wait for a slot."""
        with_slot = [claim.task.id for claim in self._runs if claim in self.slots.holders]
        if len(with_slot) < self.slots.count or not self._is_claiming:
            return
        stopping = await self._store.claims.make_room(
            self.worker,
            self._slot_lanes(),
            with_slot,
            tasks_per_user=self._config.limits.tasks_per_user,
        )
        for task_id in stopping:
            log.info("task_preempted", task=task_id)

    async def watch_stop_requests(self) -> None:
        """Have the job of each task that is canceled, stopped, paused or to make room notice it at once."""
        async for task_id in self._store.claims.stop_requests():
            if not task_id:
                self._leftovers.send()
            for claim, run in self._runs.items():
                if run.job and claim.task.id == task_id:
                    run.job.check_requests()

    def why_unrunnable(self, task: Task) -> Text | None:
        """The reason why a task can never run with this configuration, for its user; None if it can."""
        spec = task.spec
        if task.unreadable:
            return Text(
                "the record of this task cannot be read: {reason}; submit the link again",
                {"reason": Text(task.unreadable)},
            )
        if spec.type not in self._sources:
            return Text("there is no task type '{type}' in this version of SaveAny", {"type": spec.type})
        for name in filter(None, (spec.source_storage, spec.storage)):
            if name not in self._storages:
                return Text(
                    "storage '{name}' is in the configuration of no running worker any more; put it back and "
                    "retry the task with {command}, or submit it again for another storage",
                    {"name": name, "command": advice.command(f"retry {task.id}")},
                )
        return None

    async def fail(self, claim: Claim, reason: Text) -> None:
        """End a claimed task that cannot run."""
        await fail_unstarted(claim, self._build_deliveries, reason)

    async def _run(self, claim: Claim, run: _Run) -> None:
        report_working()
        if reason := self.why_unrunnable(claim.task):
            await self.fail(claim, reason)
            return
        job = run.job = self._job(claim)
        # The disk may have been unmounted since the last check; that is not the task's fault.
        if await self._storages[claim.task.spec.storage].was_just_present():
            await job.run()
        else:
            await self._release(claim, job)

    async def _earlier_runs_end(self, claim: Claim) -> None:
        """Wait until earlier runs of the task here have ended. They have lost it, but their source may still
        end what runs for it, which must not be what this run begins."""
        try:
            async with asyncio.timeout(_EARLIER_RUN_SECONDS):
                for other, run in list(self._runs.items()):
                    if other.task.id == claim.task.id and other.task.epoch < claim.task.epoch:
                        await run.ended.wait()
        except TimeoutError:
            raise PauseRequested("an earlier run of task {task} has not ended", task=claim.task.id) from None

    async def _release(self, claim: Claim, job: Job) -> None:
        try:
            await claim.release()
        except CancelRequested:
            await job.cancel()
        except Fenced:
            log.info("claim_lost", task=claim.task.id)

    def _job(self, claim: Claim) -> Job:
        spec = claim.task.spec
        source = ThrottledSource(self._sources[spec.type], self._throttle, self._store.counters, spec.user_id)
        return Job(
            claim,
            source=source,
            storages=self._storages.current,  # a task ends with the storages with which it began
            build_deliveries=self._build_deliveries,
            attempts=self._config.retry,
            scratch=self._config.services.scratch,
            budget=self._budget,
            slot=None if _is_live(spec.type) else self.slots.of(claim),
            may_begin=partial(self._earlier_runs_end, claim),
        )


def _is_live(kind: str) -> bool:
    """Whether tasks of a type take slots for recordings."""
    spec = source_specs().get(kind)
    return spec is not None and spec.slots == "live"
