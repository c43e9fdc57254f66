"""A worker process: answers bells with downloads, and beside them keeps house and delivers webhooks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from saveany import advice
from saveany.config import Config
from saveany.errors import CancelRequested, ConfigError, Fenced, StorageError, StorageUnavailable
from saveany.logs import get_logger
from saveany.models import Status, Task
from saveany.net.guard import AddressGuard
from saveany.queue import WakeUp
from saveany.store import Claim, Limits, Store, WorkerInfo, open_store
from saveany.store.counters import FLOOD_WAIT_SECONDS
from saveany.store.db import TROUBLE
from saveany.store.loops import each, repeat, until_done, wait_out_outages
from saveany.supervisor import worked
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from saveany.texts import Text
from saveany.webhooks.announce import DeliveryBuilder
from saveany.webhooks.deliver import deliver_forever
from saveany.webhooks.send import WebhookSender
from saveany.webhooks.signing import is_secret, new_secret
from storages import registry
from storages.base import Storage
from workers.arq_worker import ArqWorker
from workers.ending import end_task
from workers.jobs import Job
from workers.limits import Throttle, ThrottledSource
from workers.reconcile import Reconciler
from workers.recovery import remove_leftovers
from workers.sources import open_sources
from workers.sources.base import Source, Tools
from workers.stall import waits
from workers.storage_queries import answer_forever
from workers.storage_set import StorageHandle
from workers.strays import Strays

_BEAT_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_PLACE_SECONDS = 2.0
_CLEAN_SECONDS = 2.0
_TIDY_SECONDS = 60.0
_STRAYS_SECONDS = 10.0
#: What no worker knew for so many seconds is gone for good.
_STRAYS_PATIENCE = 300.0
_LIMITS_SECONDS = 1.0
_ROOM_SECONDS = 1.0
_RETRY_SECONDS = 0.5
_ACCOUNTS_SECONDS = 10.0

T = TypeVar("T")

log = get_logger("saveany.worker")


def worker_id() -> str:
    """A fresh name for this process: host, pid and something that no other start has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


async def serve(config: Config, url: str) -> None:
    """Work until SIGTERM or SIGINT, then drain: running tasks get `worker.drain_seconds` to end, what is left
    goes back to the queue. A second signal does not wait for them."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            signum, lambda: hurry.set() if stop.is_set() else stop.set()
        )
    async with AsyncExitStack() as stack:
        store = await _unless(stop, open_store(url))
        if store is None:
            return
        stack.push_async_callback(store.db.close)
        accounts = Accounts(config.telegram, config.data_dir, store.db.redis, proxy=config.proxy)
        stack.push_async_callback(accounts.close)
        try:
            await Worker(config, store, accounts, stack).run(stop, hurry)
        except BaseExceptionGroup as group:
            # A setting that cannot work is told in one line; anything else is a bug and shows all it has.
            settings = group.subgroup(ConfigError)
            raise settings.exceptions[0] if settings else group from None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None if `stop` comes first."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    return None


class Worker:
    """One worker process."""

    def __init__(self, config: Config, store: Store, accounts: Accounts, stack: AsyncExitStack) -> None:
        self._config = config
        self._store = store
        self._accounts = accounts
        self._stack = stack
        self._id = os.environ.get("SAVEANY_WORKER_ID") or worker_id()
        self._started_at = time.time_ns() // 1_000_000
        self._jobs: dict[str, Job] = {}
        self._places: dict[str, StorageHandle] = {}
        self._scratch = config.services.scratch
        self._on_wait = self._note_wait
        api = config.api
        self._announce = DeliveryBuilder(api.webhook_url, api.webhook_events, store.claims.time_ms)
        limits = Limits(**config.limits.model_dump())
        self._throttle = Throttle(store, self._id, limits)
        self._tasks_per_user = limits.tasks_per_user
        self._sources = self._open_sources()
        self._bells = ArqWorker(store.db, self._answer, config.workers)
        self._stop_sending = asyncio.Event()
        self._strays = Strays(_STRAYS_PATIENCE)

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Until `stop`; then drain, faster if `hurry`."""
        self._open_storages()
        sender = await self._sender()
        reconciler = Reconciler(self._store, self._end_canceled, keep_days=self._config.history.keep_days)
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(loop, name=name)
                for name, loop in {
                    "watch": repeat("watch", self._watch_self, _RETRY_SECONDS),
                    "limits": repeat("limits", self._heed_limits, _LIMITS_SECONDS),
                    "room": repeat("room", self._make_room, _ROOM_SECONDS),
                    "clean": repeat("clean", self._clean, _CLEAN_SECONDS),
                    "tidy": repeat("tidy", self._tidy, _TIDY_SECONDS),
                    "strays": repeat("strays", self._end_strays, _STRAYS_SECONDS),
                    "control": repeat("control", self._hear_cancels, _RETRY_SECONDS),
                    "passes": repeat("passes", self._hear_passes, _RETRY_SECONDS),
                    "reconcile": reconciler.run(),
                    "bells": self._bells.main(),
                    "accounts": self._start_accounts(),
                    "answers": repeat("answers", self._answer_asks, _RETRY_SECONDS),
                }.items()
            ]
            for place in self._places.values():  # each for itself: a disk that hangs must not hide the others
                loops.append(group.create_task(repeat("storage", place.look, _PLACE_SECONDS)))
            sending = group.create_task(deliver_forever(self._store.outbox, sender, self._stop_sending))
            log.info("ready", worker=self._id, slots=self._config.workers)
            await stop.wait()
            log.info("draining", worker=self._id, tasks=len(self._jobs))
            await self._drain(hurry)
            self._stop_sending.set()
            await asyncio.wait([sending], timeout=5)
            sending.cancel()
            for task in loops:
                task.cancel()
        with suppress(*TROUBLE):
            await self._store.counters.flush()
            await self._store.workers.leave(self._id)

    async def _start_accounts(self) -> None:
        await until_done("accounts", self._accounts.start, _ACCOUNTS_SECONDS)
        worked()  # their settings are the last that may turn out to be wrong

    async def _drain(self, hurry: asyncio.Event) -> None:
        draining = asyncio.create_task(self._bells.drain(self._config.worker.drain_seconds))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([draining, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            draining.cancel()
            await self._bells.drain(0)

    async def _answer(self) -> None:
        """A bell rang: what is ready then is for this worker, or for others, who did not hear it."""
        await self._work_off()
        await self._store.claims.pass_on(self._id)

    async def _work_off(self) -> None:
        """Run tasks until there is none for this worker."""
        while self._bells.allow_pick_jobs:
            claim = await self._store.claims.claim(
                self._id, self._lanes(), tasks_per_user=self._tasks_per_user
            )
            if claim is None:
                return
            await self._run(claim)

    async def _heed_limits(self) -> None:
        await self._throttle.refresh()
        self._accounts.limit_memory(self._throttle.ahead)

    async def _make_room(self) -> None:
        """When all slots are busy: share them with users who wait for one."""
        if len(self._jobs) < self._config.workers or not self._bells.allow_pick_jobs:
            return
        told = await self._store.claims.make_room(
            self._id, self._lanes(), list(self._jobs), tasks_per_user=self._tasks_per_user
        )
        for task_id in told:
            log.info("stopping for now: another user's turn", task=task_id)

    async def _run(self, claim: Claim) -> None:
        worked()
        if problem := self._unfit(claim.task):
            await self._fail(claim, problem)
            return
        job = self._job(claim)
        self._jobs[claim.task.id] = job
        try:
            # its disk may be gone since the last look, and that is no fault of the task
            if await self._places[claim.task.spec.storage].still_here():
                await job.run()
            else:
                await self._hand_back(claim, job)
        finally:
            del self._jobs[claim.task.id]

    def _unfit(self, task: Task) -> str:
        """Why a task can never be run, here or elsewhere; "" if it can."""
        spec = task.spec
        if task.unreadable:
            return f"the record of this task cannot be read: {task.unreadable}; submit the link again"
        if spec.type not in self._sources:
            return f"there is no task type {spec.type!r} in this version of SaveAny"
        for name in filter(None, (spec.source_storage, spec.storage)):
            if name not in self._places:
                again = advice.command(f"retry {task.id}")
                return (
                    f"storage {name!r} is in the configuration of no running worker any more; put it back "
                    f"and retry the task: {again}, or submit it again for another storage"
                )
        return ""

    async def _end_strays(self) -> None:
        """End tasks whose storage or kind no worker knows any more: nobody would ever begin them."""
        lanes = self._strays.look(await self._store.claims.lanes(), await self._store.workers.living())
        while lanes and (claim := await self._store.claims.claim(self._id, lanes)):
            if not (problem := self._unfit(claim.task)):
                await claim.release()  # it is known here by now
                return
            await self._fail(claim, problem)

    async def _fail(self, claim: Claim, error: str) -> None:
        """End a task before anything of it was begun."""
        log.warning("task_unfit", task=claim.task.id, reason=error)
        try:
            await end_task(claim, self._announce, Status.FAILED, Text(error))
        except CancelRequested:
            await self._end_canceled(claim)
        except Fenced:
            log.info("claim_lost", task=claim.task.id)

    async def _hand_back(self, claim: Claim, job: Job) -> None:
        try:
            await claim.release()
        except CancelRequested:
            await job.cancel()
        except Fenced:
            log.info("the task has ended or is not ours any more", task=claim.task.id)

    def _job(self, claim: Claim) -> Job:
        spec = claim.task.spec
        return Job(
            claim,
            source=ThrottledSource(
                self._sources[spec.type], self._throttle, self._store.counters, spec.user_id
            ),
            storages=self._places,
            build_deliveries=self._announce,
            attempts=self._config.retry,
            scratch=self._scratch,
        )

    def _lanes(self) -> list[str]:
        """What this worker can run now: sources that have what they need, into storages that work."""
        storages = [name for name, place in self._places.items() if not place.problem]
        names = []
        for type_, source in self._sources.items():
            if not source.problem:
                names += [f"{type_}@{name}" for name in storages] if type_ == "transfer" else [type_]
        return [f"{source}/{storage}" for source in names for storage in storages]

    def _note_wait(self, seconds: float) -> None:
        self._store.counters.add(FLOOD_WAIT_SECONDS, seconds)
        waits(seconds)

    def _open_sources(self) -> dict[str, Source]:
        tools = Tools(
            config=self._config,
            scratch=self._scratch,
            guard=AddressGuard(self._config.net.allow),
            accounts=self._accounts,
            storage=self._storage,
            on_wait=self._on_wait,
            take=self._throttle.take,
            rate=self._throttle.rate,
        )
        opened = open_sources(tools)
        for source in opened.values():
            self._stack.push_async_callback(source.close)
        return opened

    def _storage(self, name: str) -> Storage:
        place = self._places.get(name)
        if place is None or place.problem:
            raise StorageUnavailable(place.problem if place else f"this worker has no storage {name!r}")
        return place.storage

    def _open_storages(self) -> None:
        message_sender = Uploader(self._accounts, on_wait=self._on_wait)
        services = replace(self._config.services, message_sender=message_sender)
        talks = self._config.private_chats
        for options in (*self._config.storages, *([talks] if talks else [])):
            storage = registry.open_storage(options, services)
            self._places[options.name] = StorageHandle(self._store, storage)
            self._stack.push_async_callback(storage.close)

    async def _watch_self(self) -> None:
        """Say at once when something here changed, else now and then; ask for work when there is more that
        this worker can run, as the bells for it may have rung before."""
        said = self._info()
        lanes: set[str] = set()
        beat_at = 0.0
        while True:
            info, clock = self._info(), time.monotonic()
            if info != said or clock >= beat_at:
                await self._store.workers.beat(info)
                await self._wake()
                await self._store.counters.flush()
                said, beat_at = info, clock + _BEAT_SECONDS
            if set(self._lanes()) - lanes:
                await WakeUp(self._store.db).ring()
            lanes = set(self._lanes())
            await asyncio.sleep(_LOOK_SECONDS)

    async def _wake(self) -> None:
        """Have tasks go on that wait for a storage which works."""
        woken = await self._store.claims.wake([n for n, place in self._places.items() if not place.problem])
        for _ in range(min(woken, self._config.workers)):
            await WakeUp(self._store.db).ring()

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            tasks=sorted(self._jobs),
            slots=self._config.workers,
            storages={name: place.problem for name, place in self._places.items()},
            capabilities={name: asdict(each.storage.capabilities) for name, each in self._places.items()},
            sources={name: source.problem for name, source in self._sources.items()},
            accounts=dict.fromkeys(self._accounts.ready, "") | dict(self._accounts.problems),
        )

    async def _clean(self) -> None:
        """Remove what canceled tasks of workers that died left on our storages."""
        await each((place for place in self._places.values() if place.here), self._clean_place)

    async def _clean_place(self, place: StorageHandle) -> None:
        remains = await self._store.workers.remains(place.storage.name)
        await each(remains, partial(self._clean_after, place.storage))

    async def _clean_after(self, storage: Storage, left: tuple[str, int]) -> None:
        task_id, epoch = left
        try:
            await remove_leftovers(self._store, storage, task_id, epoch)
        except StorageError as e:
            log.warning("could not clean up", task=task_id, storage=storage.name, reason=e.message)
            return
        except Fenced:
            log.info("it was retried, there is nothing to clean up", task=task_id)
        await self._store.workers.cleaned(storage.name, task_id, epoch)

    async def _tidy(self) -> None:
        """Remove what workers that were killed left on this machine of tasks that have ended since."""
        await each(self._sources.values(), self._tidy_source)

    async def _tidy_source(self, source: Source) -> None:
        for task_id in await source.kept():
            task = await self._store.tasks.get(task_id)
            if task and task.status.ended and task_id not in self._jobs:
                await source.forget(task_id)

    async def _end_canceled(self, claim: Claim) -> None:
        """End a canceled task whose worker died; workers with its storage remove the rest (`_clean`)."""
        try:
            await end_task(claim, self._announce, Status.CANCELED)
        except Fenced:
            log.info("claim_lost", task=claim.task.id)

    async def _hear_cancels(self) -> None:
        async for task_id in self._store.db.listen("control"):
            if job := self._jobs.get(task_id.decode()):
                job.check_requests()

    async def _hear_passes(self) -> None:
        async for worker in self._store.db.listen("pass"):
            if worker != self._id.encode():
                self._bells.answer_too(self._work_off)

    async def _answer_asks(self) -> None:
        await answer_forever(self._store.queries, self._places)

    async def _sender(self) -> WebhookSender:
        own = self._config.api.webhook_secret.get_secret_value()
        secret = own or await wait_out_outages(
            lambda: self._store.secret("webhook_secret", new_secret(), is_secret)
        )
        sender = WebhookSender(
            secret,
            self._config.api.token.get_secret_value(),
            AddressGuard(self._config.net.allow, what="webhook URL"),
        )
        self._stack.push_async_callback(sender.aclose)
        return sender
