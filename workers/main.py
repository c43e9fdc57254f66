"""A worker process: opens everything a worker needs, and stops it in the right order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from saveany.config import Config
from saveany.config.follow import ConfigFollower
from saveany.errors import ConfigError, StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import Signal, repeat, until_done, wait_out_outages
from saveany.net.guard import AddressGuard
from saveany.programs import reuse_memory
from saveany.storage_set import StorageSet, uploads_of
from saveany.store import Limits, Store, open_store
from saveany.store.counters import FLOOD_WAIT_SECONDS
from saveany.supervisor import WORKER_ID_VARIABLE, report_working
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from saveany.uploads.folder import machine_id
from saveany.webhooks.builder import DeliveryBuilder
from saveany.webhooks.deliver import deliver_forever
from saveany.webhooks.send import WebhookSender
from workers.arq_worker import ArqWorker
from workers.ending import cancel_unstarted
from workers.heartbeat import Heartbeat
from workers.inboxes import InboxWatcher
from workers.janitor import Janitor
from workers.life_locks import LifeLock
from workers.limits import Throttle
from workers.link_queries import reply_to_link_queries
from workers.reconcile import Reconciler
from workers.runner import WITHOUT_SLOT, TaskRunner
from workers.sources import open_sources
from workers.sources.base import Source, Tools
from workers.stall import note_wait
from workers.storage_queries import reply_forever
from workers.transfer_budget import TransferBudget

#: Seconds between two refreshes of the limits.
_LIMITS_SECONDS = 1.0
#: Seconds between two checks whether users wait for a slot of this worker.
_ROOM_SECONDS = 1.0
#: Seconds before the Telegram accounts are started again after a failure.
_ACCOUNTS_SECONDS = 10.0
#: Seconds that webhook deliveries under way may take at shutdown.
_DELIVERIES_SECONDS = 5.0

T = TypeVar("T")

log = get_logger("saveany.worker")


def worker_id() -> str:
    """The id of this process: what its supervisor has chosen, otherwise `SAVEANY_WORKER_ID` or host and pid,
    with a random part. No two processes have the same, so that one that lives is not taken for a dead one."""
    name = os.environ.get("SAVEANY_WORKER_ID") or f"{socket.gethostname()}-{os.getpid()}"
    return os.environ.pop(WORKER_ID_VARIABLE, "") or f"{name}-{uuid4().hex[:6]}"


def _machine(config: Config) -> str:
    """The id of this machine, "" if it has none because nothing can be written to data_dir."""
    try:
        return machine_id(config.data_dir)
    except OSError:
        return ""


async def serve(config: Config, url: str) -> None:
    """Work until SIGTERM or SIGINT, then drain: running tasks get `worker.drain_seconds` to end; those that
    have not ended return to the queue. A second signal ends the drain at once."""
    reuse_memory()
    stop, end_drain = asyncio.Event(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            signum, lambda: end_drain.set() if stop.is_set() else stop.set()
        )
    async with AsyncExitStack() as stack:
        store = await _unless_stopped(stop, open_store(url))
        if store is None:
            return
        stack.push_async_callback(store.db.close)
        accounts = Accounts(config.telegram, config.data_dir, store.telegram, proxy=config.proxy)
        stack.push_async_callback(accounts.close)
        try:
            await Worker(config, store, accounts, stack).run(stop, end_drain)
        except BaseExceptionGroup as group:
            # A wrong setting is reported in one line. Anything else is a bug, and all of it is shown.
            settings = group.subgroup(ConfigError)
            raise settings.exceptions[0] if settings else group from None


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None if `stop` is set first."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    return None


class Worker:
    """One worker process, assembled from its parts."""

    def __init__(self, config: Config, store: Store, accounts: Accounts, stack: AsyncExitStack) -> None:
        self._config = config
        self._store = store
        self._accounts = accounts
        self._stack = stack
        self._id = worker_id()
        build_deliveries = DeliveryBuilder.of(config, store.claims.time_ms)
        self._life_lock = LifeLock(config.data_dir / "locks", self._id)
        self._throttle = Throttle(store, self._id, Limits(**config.limits.model_dump()))
        self._budget = TransferBudget()
        self._waits_until = 0.0  # end of the latest flood wait, monotonic
        self._changed, leftovers = accounts.changed, Signal()
        self._storages_changed = Signal(self._changed, leftovers)
        self._storages = self._open_storages()
        sources = self._sources = self._open_sources()
        machine = _machine(config)
        self._inboxes = InboxWatcher(config, store, machine, self._changed.send)
        self._runner = TaskRunner(
            store,
            self._id,
            config,
            machine=machine,
            storages=self._storages,
            sources=sources,
            throttle=self._throttle,
            budget=self._budget,
            build_deliveries=build_deliveries,
            changed=self._changed,
            leftovers=leftovers,
        )
        self._arq = ArqWorker(
            store, self._runner, max_jobs=config.workers + config.live.recordings + WITHOUT_SLOT
        )
        self._heartbeat = Heartbeat(
            store,
            self._runner,
            storages=self._storages,
            sources=sources,
            accounts=accounts,
            inboxes=self._inboxes,
            changed=self._changed,
            on_lanes=self._arq.lanes_changed,
        )
        self._janitor = Janitor(
            store, self._runner, storages=self._storages, sources=sources, leftovers=leftovers
        )
        self._reconciler = Reconciler(store, partial(cancel_unstarted, build_deliveries=build_deliveries))

    def _open_storages(self) -> StorageSet:
        message_sender = Uploader(self._accounts, on_wait=self._count_wait)
        services = replace(self._config.services, message_sender=message_sender)
        uploads = uploads_of(self._config.data_dir)
        storages = StorageSet.open(self._config, services, self._store, self._storages_changed, more=uploads)
        self._stack.push_async_callback(storages.close)
        return storages

    def _open_sources(self) -> dict[str, Source]:
        tools = Tools(
            config=self._config,
            scratch=self._config.services.scratch,
            guard=AddressGuard(self._config.net.allow),
            accounts=self._accounts,
            storage=self._storages.working_storage,
            on_wait=self._count_wait,
            take=self._throttle.take,
            rate=self._throttle.rate,
        )
        opened = open_sources(tools)
        for source in opened.values():
            self._stack.push_async_callback(source.close)
        return opened

    def _count_wait(self, seconds: float) -> None:
        """Count a flood wait for /metrics, and tell the stall detector that the download has not stalled."""
        now = time.monotonic()
        new = now + seconds - max(now, self._waits_until)  # files in flight wait at the same time
        if new > 0:
            self._store.counters.add(FLOOD_WAIT_SECONDS, new)
            self._waits_until = now + seconds
        note_wait(seconds)

    async def run(self, stop: asyncio.Event, end_drain: asyncio.Event) -> None:
        """Work until `stop` is set; then drain, without further waiting once `end_drain` is set."""
        sender = await self._open_webhook_sender()
        await self._recover_predecessors()
        stop_delivering = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(loop, name=name) for name, loop in self._loops().items()]
            delivering = group.create_task(deliver_forever(self._store.outbox, sender, stop_delivering))
            log.info("worker_ready", worker=self._id, slots=self._runner.slots.count)
            await stop.wait()
            log.info("worker_draining", worker=self._id, tasks=len(self._runner.running))
            await self._drain(end_drain)
            stop_delivering.set()
            await asyncio.wait([delivering], timeout=_DELIVERIES_SECONDS)
            delivering.cancel()
            for task in loops:
                task.cancel()
        with suppress(StoreUnavailable):
            await self._store.counters.flush()
            await self._store.workers.leave(self._id)
            self._life_lock.release()

    async def _recover_predecessors(self) -> None:
        """Take the tasks of workers of this machine that have died, without waiting for their leases."""
        self._life_lock.acquire()
        with suppress(StoreUnavailable):  # then they wait
            await self._life_lock.for_each_dead_worker(self._reconciler.recover_worker)

    def _loops(self) -> dict[str, Coroutine[Any, Any, Any]]:
        """The background loops of the worker, by name."""
        return {
            "wake_ups": self._arq.main(),
            "heartbeat": self._heartbeat.run(),
            "config": ConfigFollower(self._config, self._apply).run(),
            "limits": repeat("limits", self._refresh_limits, _LIMITS_SECONDS),
            "room": repeat("room", self._make_room, _ROOM_SECONDS),
            "stop_requests": repeat("stop_requests", self._runner.watch_stop_requests),
            "storages": self._storages.monitor(),
            "link_queries": repeat("link_queries", self._reply_to_link_queries),
            "storage_queries": repeat("storage_queries", self._reply_to_queries),
            "accounts": self._start_accounts(),
            "inboxes": self._inboxes.run(),
            "reconcile": self._reconciler.run(),
            **self._janitor.loops(),
        }

    def _apply(self) -> None:
        """Apply a changed configuration."""
        self._throttle.configured = Limits(**self._config.limits.model_dump())
        self._storages.update()
        self._storages_changed.send()
        self._inboxes.changed.send()

    async def _wait_for_tasks(self) -> None:
        """Wait until a task runs here."""
        while not self._runner.running:
            await self._changed.wait()

    async def _make_room(self) -> None:
        await self._wait_for_tasks()
        await self._runner.make_room()

    async def _refresh_limits(self) -> None:
        await self._wait_for_tasks()
        await self._throttle.refresh()
        self._accounts.limit_memory(self._throttle.read_ahead)
        self._budget.limit(self._throttle.read_ahead)

    async def _reply_to_queries(self) -> None:
        await reply_forever(self._store.queries, self._storages)

    async def _reply_to_link_queries(self) -> None:
        await reply_to_link_queries(self._store.link_queries, self._sources, self._storages)

    async def _start_accounts(self) -> None:
        await until_done("accounts", self._accounts.start, _ACCOUNTS_SECONDS)
        self._changed.send()
        report_working()  # the accounts have the last settings that could turn out to be wrong

    async def _drain(self, end_drain: asyncio.Event) -> None:
        self._runner.stop_claiming()
        draining = asyncio.create_task(self._arq.drain(self._config.worker.drain_seconds))
        ending = asyncio.create_task(end_drain.wait())
        await asyncio.wait([draining, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not draining.done():
            draining.cancel()
            await self._arq.drain(0)

    async def _open_webhook_sender(self) -> WebhookSender:
        sender = await wait_out_outages(lambda: WebhookSender.configured(self._config, self._store))
        self._stack.push_async_callback(sender.aclose)
        return sender
