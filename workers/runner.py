"""Claims tasks for this worker and runs each one in a job."""

from __future__ import annotations

from collections.abc import Mapping

from saveany import advice
from saveany.config import Config
from saveany.errors import CancelRequested, Fenced
from saveany.logs import get_logger
from saveany.models import Task
from saveany.storage_set import StorageSet, lanes
from saveany.store import Claim, Store
from saveany.supervisor import report_working
from saveany.texts import Text
from saveany.webhooks.builder import DeliveryBuilder
from workers.ending import fail_unstarted
from workers.jobs import Job
from workers.limits import Throttle, ThrottledSource
from workers.sources.base import Source
from workers.transfer_budget import TransferBudget

log = get_logger("saveany.worker")


class TaskRunner:
    """Everything between a free slot of this worker and a `Job`."""

    def __init__(
        self,
        store: Store,
        worker: str,
        config: Config,
        *,
        storages: StorageSet,
        sources: Mapping[str, Source],
        throttle: Throttle,
        budget: TransferBudget,
        build_deliveries: DeliveryBuilder,
    ) -> None:
        self.worker = worker
        #: Number of tasks that run here at a time.
        self.slots = config.workers
        self._store = store
        self._config = config
        self._storages = storages
        self._sources = sources
        self._throttle = throttle
        self._budget = budget
        self._build_deliveries = build_deliveries
        self._jobs: dict[str, Job] = {}
        self._is_claiming = True

    @property
    def running(self) -> list[str]:
        """Ids of the tasks that run here, sorted."""
        return sorted(self._jobs)

    def lanes(self) -> list[str]:
        """Lanes of the tasks that can run here now: into storages that work, from sources that work."""
        return lanes(
            (kind for kind, each in self._sources.items() if not each.problem), self._storages.working
        )

    def stop_claiming(self) -> None:
        """Start no more tasks; running tasks continue."""
        self._is_claiming = False

    async def run_ready(self, wake_up: str = "") -> None:
        """Run one ready task after the other in this slot until none is left for this worker. `wake_up` is
        the lane whose wake-up this slot has taken."""
        while self._is_claiming:
            claim = await self._store.claims.claim(
                self.worker,
                self.lanes(),
                tasks_per_user=self._config.limits.tasks_per_user,
                wake_up=wake_up,
            )
            if claim is None:
                return
            wake_up = ""
            await self._run(claim)

    async def make_room(self) -> None:
        """If all slots are busy, have tasks here stop for users who wait for a slot."""
        if len(self._jobs) < self.slots or not self._is_claiming:
            return
        stopping = await self._store.claims.make_room(
            self.worker,
            self.lanes(),
            list(self._jobs),
            tasks_per_user=self._config.limits.tasks_per_user,
        )
        for task_id in stopping:
            log.info("task_preempted", task=task_id)

    async def watch_stop_requests(self) -> None:
        """Have the job of each task that is canceled, paused or to make room notice it at once."""
        async for task_id in self._store.claims.stop_requests():
            if job := self._jobs.get(task_id):
                job.check_requests()

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

    async def _run(self, claim: Claim) -> None:
        report_working()
        if reason := self.why_unrunnable(claim.task):
            await self.fail(claim, reason)
            return
        job = self._job(claim)
        self._jobs[claim.task.id] = job
        try:
            # The disk may have been unmounted since the last check; that is not the task's fault.
            if await self._storages[claim.task.spec.storage].check_presence():
                await job.run()
            else:
                await self._release(claim, job)
        finally:
            del self._jobs[claim.task.id]

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
            storages=self._storages,
            build_deliveries=self._build_deliveries,
            attempts=self._config.retry,
            scratch=self._config.services.scratch,
            budget=self._budget,
        )
