"""Claims: a worker's exclusive right to work on one task, fenced by an epoch.

Every write compares the epoch first. A worker that was frozen until its lease expired, and whose task another
worker has claimed, can write nothing: it gets `Fenced`. After a cancel every write except `finish(CANCELED)`
raises `CancelRequested`. Writes that start more work raise `StopRequested` after a stop; after a pause, or
when the task must make room for another user's, `PauseRequested`. `release`, `finish` and `checkpoint` then
succeed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from saveany.errors import CancelRequested, Fenced, PauseRequested, StopRequested, StoreDamaged
from saveany.loops import wait_out_outages
from saveany.models import Checkpoint, Delivery, Duplicate, Item, Progress, Stage, Status, Task
from saveany.store import codec, keys
from saveany.store.db import Arg, Db
from saveany.store.duplicates import DuplicateQueries
from saveany.store.records import Unreadable, decoder, text
from saveany.store.results import AppendResult, ClaimResult, RecordResult
from saveany.store.tasks import delivery_args, read_items
from saveany.texts import Text, gettext_noop

#: Milliseconds after which a claim that was not renewed is lost, and between two renewals.
LEASE_MS = 15_000
RENEW_MS = 5_000
#: Milliseconds that a user's task waits before a task of another user is stopped for it.
PREEMPT_AFTER_MS = 5_000
#: Milliseconds that a task may run before a user without running tasks gets its slot. Each time the task is
#: stopped doubles this, up to 32 times the value.
SLICE_MS = 60_000
#: Seconds between two checks whether a worker has removed a copy.
_REMOVAL_SECONDS = 0.2
#: Milliseconds after which a reserved name is free again in any case.
_RESERVED_MS = 7 * 24 * 3600 * 1000

_checkpoint = decoder(Checkpoint)


class Claim:
    """A task that this worker has claimed."""

    def __init__(self, db: Db, task: Task, items: list[Item], *, has_slot: bool = True) -> None:
        self._db = db
        self._duplicates = DuplicateQueries(db)
        self.task = task
        #: The items at the time of the claim; empty if the task has no plan yet.
        self.items = items
        #: Whether the task was claimed together with a slot of the worker.
        self.has_slot = has_slot

    async def renew(self) -> None:
        """Extend the lease to `LEASE_MS` from now."""
        await self._write("renew", LEASE_MS)

    async def take_slot(self) -> None:
        """Record that the task has a slot of its worker. From now on it is claimed only together with
        one."""
        await self._write("take_slot", self.task.spec.slot_lane)

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

    async def append(
        self, items: Sequence[Item], progress: Progress, deliveries: Sequence[Delivery] = ()
    ) -> None:
        """Add files to a planned task, after those that it has: their indexes continue the indexes so far.
        Raises `ValueError` if they do not."""
        args = (codec.encode(progress), *codec.item_args(list(items)), *delivery_args(list(deliveries)))
        if await self._write("append", *args) == AppendResult.GAP:
            raise ValueError(f"task {self.task.id}: the items do not continue those it has")

    async def accept_stop(self) -> None:
        """Record that this worker knows that the task is to be stopped: from now on its writes succeed."""
        await self._write("accept_stop")

    async def progress(self, stage: Stage, progress: Progress) -> None:
        """Publish stage and progress of the task."""
        await self._write("progress", stage.value, codec.encode(progress))

    async def item(
        self, *items: Item, deliveries: Sequence[Delivery] = (), even_canceled: bool = False
    ) -> None:
        """Record items and webhooks in one step; with `even_canceled` also after a cancel, stop or pause.

        While a worker removes a deleted copy at a path at which an item makes its file visible, it waits.
        """
        args = (*codec.item_args(list(items)), *delivery_args(list(deliveries)))
        while True:
            if await self._write("item", "1" if even_canceled else "0", *args) != RecordResult.REMOVING:
                return
            await asyncio.sleep(_REMOVAL_SECONDS)

    async def find_duplicate(self, item: Item) -> Duplicate | None:
        """A file that the user of the task saved before, with the content of this item: by its SHA-256, or
        while that is unknown by Telegram's id of it, after waiting for a task that is saving it now. None
        also if that cannot be found out now."""
        document = item.source.get("document") if not item.sha256 else None
        if not item.sha256 and not isinstance(document, int):
            return None
        task = self.task
        if isinstance(document, int):
            await wait_out_outages(
                lambda: self._duplicates.wait_for_turn(
                    task.spec.user_id, task.id, item.index, document, item.size or 0
                )
            )
        return await wait_out_outages(
            lambda: self._duplicates.find(
                task.spec.user_id, task.id, item.index, item.size, document, item.sha256
            )
        )

    async def record_checkpoints(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Record which bytes of items are durable, by index, so that the next claim continues from them."""
        args = [arg for index, each in checkpoints.items() for arg in (index, codec.encode(each))]
        await self._write("checkpoint", *args)

    async def checkpoints(self) -> dict[int, Checkpoint]:
        """The last checkpoint of each item that has one, by this claim or an earlier one."""
        found = await wait_out_outages(lambda: self._db.do("HGETALL", keys.CHECKPOINTS(self.task.id)))
        read = self._db.records.one
        known = {
            int(index): read("checkpoint", f"{self.task.id}-{text(index)}", raw, _checkpoint)
            for index, raw in found.items()
            if index.isdigit()
        }
        return {index: checkpoint for index, checkpoint in known.items() if checkpoint is not None}

    async def next_suffix(self, storage: str, path: str) -> int:
        """The next number for `path` in a storage: 1, 2, 3 … No two callers get the same (for 30 days)."""
        key = keys.SUFFIX(storage, path)
        count = [("INCR", key), ("EXPIRE", key, 30 * 24 * 3600)]
        try:
            number, _ = await wait_out_outages(lambda: self._db.many(count))
        except StoreDamaged:
            await wait_out_outages(lambda: self._db.do("DEL", key))
            return await self.next_suffix(storage, path)
        return int(number)

    async def reserve_name(self, index: int, storage: str, path: str) -> bool:
        """Reserve `path` of a storage for one item. False if another item has reserved it. The reservation
        ends with the task."""
        args = (self.task.id, index, storage, path, _RESERVED_MS)
        return bool(await wait_out_outages(lambda: self._db.script("reserve_name", *args)))

    async def release_name(self, index: int, storage: str, path: str) -> None:
        """End the reservation of a path, because the file is visible there now."""
        args = (self.task.id, index, storage, path)
        await wait_out_outages(lambda: self._db.script("release_name", *args))

    async def finish(
        self,
        status: Status,
        error: str | Text = "",
        *,
        items: Sequence[Item] = (),
        progress: Progress | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """End the task: its last items, status and webhooks in one step."""
        shown = codec.encode(progress) if progress else ""
        args = (*codec.item_args(list(items)), *delivery_args(list(deliveries)))
        await self._write("finish", status.value, str(error), codec.text_arg(error), shown, *args)

    async def release(
        self, delay_ms: int = 0, reason: str | Text = "", storage: str = "", *, needs_slot: bool = False
    ) -> None:
        """Put the task back into the queue; it can be claimed again after `delay_ms`. The user sees `reason`
        meanwhile. `Claims.storages_recovered` ends a delay that is due to an unreachable `storage`. With
        `needs_slot` it is claimed only together with a slot from now on."""
        lane = self.task.spec.slot_lane if needs_slot else ""
        await self._write("release", delay_ms, str(reason), storage, codec.text_arg(reason), lane)

    async def _write(self, script: str, *args: Arg) -> str:
        # After a broken connection a write may run twice; the scripts permit that.
        reply = await wait_out_outages(lambda: self._db.script(script, self.task.id, self.task.epoch, *args))
        match result := text(reply):
            case ClaimResult.FENCED:
                raise Fenced("Another worker owns task {task} now.", task=self.task.id)
            case ClaimResult.CANCEL:
                raise CancelRequested("Task {task} was canceled.", task=self.task.id)
            case ClaimResult.STOP:
                raise StopRequested("Task {task} was stopped.", task=self.task.id)
            case ClaimResult.PAUSE:
                raise PauseRequested(
                    "Task {task} was paused, or must make room for another.", task=self.task.id
                )
        return result


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result of one run of the reconciler."""

    returned: int  # tasks of dead workers that were put back into the queue
    woken: int  # delayed tasks that have become ready
    lapsed: int  # expired leases
    canceled: list[tuple[str, int]]  # (id, epoch) of canceled tasks of dead workers; the caller ends them


class Claims:
    """Granting claims, and recovering those of dead workers."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def claim(
        self, worker: str, lanes: Sequence[str], *, tasks_per_user: int = 0, wake_up: str = ""
    ) -> Claim | None:
        """Claim the next task in these lanes, with a slot. Returns None if no task can run."""
        claims = await self.claim_several(
            worker, slot_lanes=lanes, slots=1, tasks_per_user=tasks_per_user, wake_up=wake_up
        )
        return claims[0] if claims else None

    async def claim_several(
        self,
        worker: str,
        *,
        slot_lanes: Sequence[str],
        slots: int,
        lanes: Sequence[str] = (),
        without_slot: int = 0,
        live_lanes: Sequence[str] = (),
        recordings: int = 0,
        tasks_per_user: int = 0,
        wake_up: str = "",
    ) -> list[Claim]:
        """Claim the next tasks: up to `slots` in `slot_lanes`, up to `recordings` in `live_lanes`, and up to
        `without_slot` in the other lanes.

        A slot goes to the user with the fewest slots, and a place without one to the user with the fewest
        running tasks that have none. `tasks_per_user` limits the running tasks of a
        user except recordings (0: no limit); a limit that was set with `RuntimeSettings.set` overrides it.
        `wake_up` is the lane that `next_wake_up` returned, if any: its wake-up is put back if only tasks of
        other lanes are claimed.
        """
        replies = await self._db.script(
            "claim",
            worker,
            LEASE_MS,
            tasks_per_user,
            wake_up,
            slots,
            without_slot,
            recordings,
            len(slot_lanes),
            len(live_lanes),
            *slot_lanes,
            *live_lanes,
            *lanes,
        )
        return [self._claim_of(*reply) for reply in replies]

    def _claim_of(self, task_id_: bytes, fields: list[bytes], kept_: list[bytes], has_slot: int) -> Claim:
        task_id, record, kept = task_id_.decode(), codec.pairs(fields), codec.pairs(kept_)
        task = codec.decode_task(task_id, record)
        items = read_items(self._db, task_id, kept)
        if not task.unreadable and [item.index for item in items] != list(range(task.items_total)):
            why = gettext_noop("its file records are lost")
            if items:
                why = gettext_noop("some of its file records cannot be read")
            task = msgspec.structs.replace(task, unreadable=why)
        if task.unreadable:
            self._db.records.report("task", task_id, Unreadable(task.unreadable))
        return Claim(self._db, task, items, has_slot=bool(has_slot))

    async def make_room(
        self, worker: str, lanes: Sequence[str], tasks: Sequence[str], *, tasks_per_user: int = 0
    ) -> list[str]:
        """Stop `tasks`, which have the slots of a worker without a free one, so that users who wait for these
        lanes get slots.

        Returns the ids of the tasks that must stop. Their claims raise `PauseRequested` from now on, and must
        be released.
        """
        stopped = await self._db.script(
            "make_room", worker, tasks_per_user, PREEMPT_AFTER_MS, SLICE_MS, len(lanes), *lanes, *tasks
        )
        return [text(task) for task in stopped]

    async def storages_recovered(self, storages: Sequence[str]) -> int:
        """Make tasks ready that were delayed until one of these storages works. Returns their number."""
        return int(await self._db.script("storages_recovered", *storages)) if storages else 0

    async def lanes(self) -> set[str]:
        """The lanes with ready tasks, of all users."""
        users = await self._db.do("ZRANGE", keys.USERS(), 0, -1)
        found = await self._db.many([("SMEMBERS", keys.LANES(text(user))) for user in users])
        return {text(lane) for lanes in found for lane in lanes}

    async def stop_requests(self) -> AsyncIterator[str]:
        """Ids of tasks that were canceled, stopped, paused or must make room, from now on; "" when the
        subscription is active, and when a canceled task may have left unfinished files in a storage. Raises
        `StoreUnavailable` when the connection breaks."""
        async for message in self._db.listen(keys.CONTROL):
            yield text(message)

    async def next_wake_up(self, lanes: Sequence[str], seconds: float) -> str:
        """Wait until a task becomes ready in one of these lanes. Returns its lane, or "" after `seconds`.

        Each task that becomes ready wakes one worker. If that worker dies before it claims a task, the
        reconciler wakes another one within two seconds.
        """
        reply = await self._db.do("BLPOP", *(keys.WAKE_UPS(lane) for lane in lanes), seconds)
        return text(reply[0]).removeprefix(keys.WAKE_UPS("")) if reply else ""

    async def reconcile(self, *, check_leases: bool, limit: int = 200) -> Reconciled:
        """Recover tasks of dead workers and wake delayed tasks. `check_leases=False` only counts expired
        leases, because after an outage of Redis workers need time to renew them."""
        returned, woken, lapsed, flat = await self._db.script(
            "reconcile", limit, LEASE_MS, "1" if check_leases else "0"
        )
        return Reconciled(returned, woken, lapsed, _canceled(flat))

    async def recover_worker(self, worker: str) -> Reconciled:
        """Recover the tasks of a worker that is known to be dead, without waiting for their leases."""
        returned, flat = await self._db.script("recover_worker", worker, LEASE_MS)
        return Reconciled(returned, 0, 0, _canceled(flat))

    def take_over(self, task: Task, items: list[Item]) -> Claim:
        """The claim of a canceled task from `reconcile`; `task` must have the epoch that it returned."""
        return Claim(self._db, task, items)

    async def time_ms(self) -> int:
        """Milliseconds by the clock of Redis. Waits during an outage, as all writes of a claim do."""
        return await wait_out_outages(self._db.time_ms)

    async def expire_leases(self, worker: str) -> int:
        """Expire the leases of a worker that is known to be dead. Returns their number."""
        return int(await self._db.script("expire_leases", worker))


def _canceled(flat: list[bytes]) -> list[tuple[str, int]]:
    """Pairs of a canceled task and its new epoch."""
    return [(text(i), int(e)) for i, e in zip(flat[::2], flat[1::2], strict=True)]
