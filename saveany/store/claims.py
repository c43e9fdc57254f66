"""Claims: a worker's right to work on one task, fenced by an epoch.

Every write of a claim is compare-and-set on the epoch, so a worker that was frozen while its lease ran out,
and whose task another worker has taken, can write nothing: it gets `Fenced`. If the user canceled the task
every write but `finish(CANCELED)` raises `CancelRequested`. If the user paused it, or it is to make room for
a task of another user, whatever would begin more work raises `PauseRequested`; `release`, `finish` and
`checkpoint` go through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from saveany.errors import CancelRequested, Fenced, PauseRequested, StoreDamaged
from saveany.models import Checkpoint, Delivery, Item, Progress, Stage, Status, Task
from saveany.store import codec, keys
from saveany.store.db import Arg, Db
from saveany.store.loops import wait_out_outages
from saveany.store.records import Unreadable, decoder, text
from saveany.store.results import ClaimResult
from saveany.store.tasks import delivery_args, read_items
from saveany.texts import Text

#: How long a worker may be silent before its task is given to another, and how often it speaks.
LEASE_MS = 15_000
RENEW_MS = 5_000
#: How long a user's task waits before one of another user is stopped for it, and how long a task may run
#: before a user who has none running gets its slot; each stop doubles that, up to 32 times this.
PATIENCE_MS = 5_000
SLICE_MS = 60_000
#: A reserved path is nobody's again at the latest after this.
_RESERVED_MS = 7 * 24 * 3600 * 1000

_checkpoint = decoder(Checkpoint)


class Claim:
    """One task, claimed by this worker at one epoch."""

    def __init__(self, db: Db, task: Task, items: list[Item]) -> None:
        self._db = db
        self.task = task
        #: The items as they were when the task was claimed; empty if it has not been planned yet.
        self.items = items

    async def renew(self) -> None:
        """Keep the claim for another lease."""
        await self._write("renew", LEASE_MS)

    async def plan(
        self,
        title: str,
        items: list[Item],
        progress: Progress,
        deliveries: list[Delivery],
        *,
        subject: Text | None = None,
    ) -> None:
        """Record the files of the task. `subject` is the part of the title that names them."""
        named = codec.encode(subject or Text(title))
        args = (named, codec.encode(progress), *codec.item_args(items), *delivery_args(deliveries))
        await self._write("plan", title, *args)

    async def progress(self, stage: Stage, progress: Progress) -> None:
        """Publish how far the task is."""
        await self._write("progress", stage.value, codec.encode(progress))

    async def item(self, *items: Item, told: Sequence[Delivery] = (), even_canceled: bool = False) -> None:
        """Record the state of items at once, and webhooks that tell of them."""
        args = (*codec.item_args(list(items)), *delivery_args(list(told)))
        await self._write("item", "1" if even_canceled else "0", *args)

    async def checkpoint(self, index: int, checkpoint: Checkpoint) -> None:
        """Remember which bytes of an item are durable, for whoever claims the task next."""
        await self._write("checkpoint", index, codec.encode(checkpoint))

    async def last_checkpoint(self, index: int) -> Checkpoint | None:
        """What was remembered of an item, by this claim or an earlier one."""
        found = await wait_out_outages(lambda: self._db.do("HGET", keys.CHECKPOINTS(self.task.id), index))
        return self._db.records.one("checkpoint", self.task.id, found, _checkpoint) if found else None

    async def next_suffix(self, storage: str, path: str) -> int:
        """A number that nobody else gets for `path` in a storage: 1, 2, 3 … (kept for 30 days)."""
        key = keys.SUFFIX(storage, path)
        count = [("INCR", key), ("EXPIRE", key, 30 * 24 * 3600)]
        try:
            number, _ = await wait_out_outages(lambda: self._db.many(count))
        except StoreDamaged:
            await wait_out_outages(lambda: self._db.do("DEL", key))
            return await self.next_suffix(storage, path)
        return int(number)

    async def reserve(self, index: int, storage: str, path: str) -> bool:
        """Have `path` of a storage for one item, against all other tasks; False if another has it. It is free
        again when the task has ended."""
        args = (self.task.id, index, storage, path, _RESERVED_MS)
        return bool(await wait_out_outages(lambda: self._db.script("reserve", *args)))

    async def vacate(self, index: int, storage: str, path: str) -> None:
        """Give a reserved path back: the file is there now, for everyone to see."""
        args = (self.task.id, index, storage, path)
        await wait_out_outages(lambda: self._db.script("vacate", *args))

    async def finish(
        self,
        status: Status,
        error: str | Text = "",
        *,
        items: Sequence[Item] = (),
        progress: Progress | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """End the task: its last items, its status and its webhooks, all or nothing."""
        shown = codec.encode(progress) if progress else ""
        args = (*codec.item_args(list(items)), *delivery_args(list(deliveries)))
        await self._write("finish", status.value, str(error), codec.text_arg(error), shown, *args)

    async def release(self, delay_ms: int = 0, reason: str | Text = "", storage: str = "") -> None:
        """Give the task back to the queue, to be claimed again not before `delay_ms` from now. `reason` says
        why it waits, in words for a user. If it waits for a `storage`, `Claims.wake` ends that."""
        await self._write("release", delay_ms, str(reason), storage, codec.text_arg(reason))

    async def _write(self, script: str, *args: Arg) -> None:
        # A write that went through just before the connection broke is made again; the scripts bear that.
        reply = await wait_out_outages(lambda: self._db.script(script, self.task.id, self.task.epoch, *args))
        match ClaimResult(text(reply)):
            case ClaimResult.FENCED:
                raise Fenced("Another worker owns task {task} now.", task=self.task.id)
            case ClaimResult.CANCEL:
                raise CancelRequested("Task {task} was canceled.", task=self.task.id)
            case ClaimResult.PAUSE:
                raise PauseRequested("Task {task} was paused, or makes room for another.", task=self.task.id)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one round of the reconciler found."""

    returned: int  # tasks of dead workers that are queued again
    woken: int  # delayed tasks that are ready now
    canceled: list[tuple[str, int]]  # (id, epoch) of canceled tasks of dead workers; the caller ends them


class Claims:
    """Handing out claims and taking them back."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def claim(
        self, worker: str, lanes: Sequence[str], *, tasks_per_user: int = 0, wake_up: str = ""
    ) -> Claim | None:
        """The next task that a worker with these lanes may run, or None.

        The user with the fewest running tasks goes first. `tasks_per_user` is how many tasks of a user may
        run at once, 0 for any number, unless `RuntimeSettings.set` has changed it. `wake_up` is the lane
        that `next_wake_up` has returned, if any: its wake-up is put back if another lane's task goes first.
        """
        reply = await self._db.script("claim", worker, LEASE_MS, tasks_per_user, wake_up, *lanes)
        if not reply:
            return None
        task_id, record, kept = reply[0].decode(), codec.pairs(reply[1]), codec.pairs(reply[2])
        task = codec.decode_task(task_id, record)
        items = read_items(self._db, task_id, kept)
        if not task.unreadable and [item.index for item in items] != list(range(task.items_total)):
            why = "some of its files cannot be read" if items else "its list of files is lost"
            task = msgspec.structs.replace(task, unreadable=why)
        if task.unreadable:
            self._db.records.report("task", task_id, Unreadable(task.unreadable))
        return Claim(self._db, task, items)

    async def make_room(
        self, worker: str, lanes: Sequence[str], tasks: Sequence[str], *, tasks_per_user: int = 0
    ) -> list[str]:
        """Share the slots of a worker that is busy with `tasks` among the users who wait for these lanes.

        Returns the tasks that are to stop: their claims are answered `PauseRequested` and are to be
        released.
        """
        told = await self._db.script(
            "make_room", worker, tasks_per_user, PATIENCE_MS, SLICE_MS, len(lanes), *lanes, *tasks
        )
        return [text(task) for task in told]

    async def wake(self, storages: Sequence[str]) -> int:
        """Make tasks ready that were put off because one of these storages did not work; returns how many."""
        return int(await self._db.script("wake", *storages)) if storages else 0

    async def lanes(self) -> set[str]:
        """Lanes in which tasks are ready."""
        users = await self._db.do("ZRANGE", keys.USERS(), 0, -1)
        found = await self._db.many([("SMEMBERS", keys.LANES(text(user))) for user in users])
        return {text(lane) for lanes in found for lane in lanes}

    async def stop_requests(self) -> AsyncIterator[str]:
        """Ids of tasks that were canceled, paused or must make room, from now on; first "" when the
        subscription is active. Raises `StoreUnavailable` when the connection breaks."""
        async for message in self._db.listen(keys.CONTROL):
            yield text(message)

    async def next_wake_up(self, lanes: Sequence[str], seconds: float) -> str:
        """Wait for a task that becomes ready in one of these lanes; returns its lane, "" after `seconds`.

        For each task one worker returns from here. If it dies before it claims one, the reconciler wakes
        another within two seconds.
        """
        reply = await self._db.do("BLPOP", *(keys.WAKE_UPS(lane) for lane in lanes), seconds)
        return text(reply[0]).removeprefix(keys.WAKE_UPS("")) if reply else ""

    async def reconcile(self, *, judge_leases: bool, limit: int = 200) -> Reconciled:
        """One round of housekeeping. `judge_leases=False` leaves leases alone: after an outage of Redis
        workers get the time to renew them first."""
        returned, woken, flat = await self._db.script(
            "reconcile", limit, LEASE_MS, "1" if judge_leases else "0"
        )
        canceled = [(text(i), int(e)) for i, e in zip(flat[::2], flat[1::2], strict=True)]
        return Reconciled(returned, woken, canceled)

    def take_over(self, task: Task, items: list[Item]) -> Claim:
        """The claim of a task that `reconcile` handed over; `task` must carry its epoch."""
        return Claim(self._db, task, items)

    async def time_ms(self) -> int:
        """The clock of Redis; an outage is waited out, as by every write of a claim."""
        return await wait_out_outages(self._db.time_ms)

    async def bury(self, worker: str) -> int:
        """End the leases of a worker that is known to be dead; returns how many."""
        return int(await self._db.script("bury", worker))
