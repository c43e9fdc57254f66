"""The loop that sends due webhooks; every worker process runs one beside its downloads."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Literal, Protocol
from urllib.parse import urlsplit

from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.models import Delivery
from saveany.webhooks.send import Delivered, GiveUp, Outcome, Retry, failed

#: Milliseconds for which a claimed delivery is reserved for this process.
LEASE_MS = 60_000
#: Maximum number of simultaneous attempts to one host.
PER_HOST = 2

#: Seconds of the lease that must remain to start an attempt, which ends within them.
_MARGIN_S = 30.0
#: Maximum number of deliveries that wait for one host.
_QUEUE_PER_HOST = 8
#: Seconds without progress after which a full queue is no longer waited for.
_STUCK_S = 1.0
#: Seconds between two checks for due deliveries when there are none.
_IDLE_S = 10.0
#: Seconds before the outbox is read again after a failure.
_FAILURE_S = 1.0

log = get_logger(__name__)


class DeliveryQueue(Protocol):
    """The outbox (`saveany.store.outbox`), as far as this loop uses it."""

    async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
        """Up to `limit` due deliveries; each is due again after `lease_ms` unless it was settled by then."""

    async def settle(
        self, delivery: Delivery, state: Literal["delivered", "gave_up"], status: int, error: str
    ) -> None:
        """Record the last attempt."""

    async def retry(self, delivery: Delivery, after_ms: int, status: int, error: str) -> None:
        """Record a failed attempt; the next one is due in `after_ms`."""

    async def wait(self, timeout: float) -> None:
        """Wait until a delivery may be due, for at most `timeout` seconds."""


class DeliverySender(Protocol):
    """The sender (`saveany.webhooks.send.WebhookSender`), as far as this loop uses it."""

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """The outcome of one attempt, the first after `Delivery.attempts`."""


async def deliver_forever(
    outbox: DeliveryQueue, sender: DeliverySender, stop: asyncio.Event, concurrency: int = 8
) -> None:
    """Send due webhooks until `stop` is set, then finish the running attempts and return.

    At most `concurrency` attempts run at once, and `PER_HOST` to one host. No failure ends the loop: a
    delivery that could not be settled is due again when its lease ends, so a receiver may get it twice with
    the same id.
    """
    senders = _HostSender(outbox, sender, stop, concurrency)
    async with asyncio.TaskGroup() as group:
        await repeat("outbox", partial(senders.round, group), retry=_FAILURE_S, until=stop)


class _Host:
    """The deliveries that wait for one host."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(PER_HOST)
        self.waiting = 0
        self.progressed = asyncio.Event()
        self.progressed_at = time.monotonic()

    def leave(self) -> None:
        self.waiting -= 1
        self.progressed_at = time.monotonic()
        self.progressed.set()

    async def wait_for_room(self) -> bool:
        """Wait while the queue is full but makes progress; returns whether another delivery may wait here."""
        while self.waiting >= _QUEUE_PER_HOST:
            left = self.progressed_at + _STUCK_S - time.monotonic()
            self.progressed.clear()
            if left <= 0 or not await _set_within(self.progressed, left):
                return False
        return True


class _HostSender:
    def __init__(
        self, outbox: DeliveryQueue, sender: DeliverySender, stop: asyncio.Event, concurrency: int
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._stop = stop
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._held = asyncio.Semaphore(concurrency * _QUEUE_PER_HOST)
        self._hosts: dict[str, _Host] = {}

    async def round(self, group: asyncio.TaskGroup) -> None:
        """Start the due deliveries, or wait until there are some."""
        leased_until = time.monotonic() + LEASE_MS / 1000
        due = await self._outbox.claim(self._concurrency, LEASE_MS)
        if not due:
            await self._idle()
        for delivery in due:
            await self._accept(delivery, leased_until, group)

    async def _idle(self) -> None:
        waiting = asyncio.create_task(self._outbox.wait(_IDLE_S))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if waiting in done:
                waiting.result()
        finally:
            waiting.cancel()
            stopped.cancel()

    async def _accept(self, delivery: Delivery, leased_until: float, group: asyncio.TaskGroup) -> None:
        name = _host_of(delivery.url)
        host = self._hosts.setdefault(name, _Host())
        # Deliveries that do not fit into the queue of a stuck host are left until their lease ends, so that
        # the next claims reach other hosts.
        if await host.wait_for_room():
            self._hosts[name] = host
            host.waiting += 1
            await self._held.acquire()
            group.create_task(self._deliver_in_slot(delivery, name, host, leased_until))

    async def _deliver_in_slot(self, delivery: Delivery, name: str, host: _Host, leased_until: float) -> None:
        try:
            # In this order, so that a delivery that waits for its host takes no slot from others.
            async with host.slots, self._slots:
                if time.monotonic() < leased_until - _MARGIN_S and not self._stop.is_set():
                    await self._deliver(delivery)
        finally:
            self._held.release()
            host.leave()
            if not host.waiting:
                self._hosts.pop(name, None)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._settle(delivery, await self._attempt(delivery))
        except Exception as error:
            log.error("webhook_outcome_not_written", id=delivery.id, reason=str(error))

    async def _attempt(self, delivery: Delivery) -> Outcome:
        try:
            return await self._sender.send(delivery, time.time_ns() // 1_000_000)
        except Exception as error:
            log.exception("webhook_send_crashed", id=delivery.id)
            return failed(delivery, 0, f"internal error: {type(error).__name__}")

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        match outcome:
            case Delivered(status):
                await self._outbox.settle(delivery, "delivered", status, "")
            case GiveUp(status, error):
                log.warning("webhook_given_up", id=delivery.id, task=delivery.task_id, reason=error)
                await self._outbox.settle(delivery, "gave_up", status, error)
            case Retry(after_s, status, error):
                log.info("webhook_failed", id=delivery.id, retry_after_s=round(after_s), reason=error)
                await self._outbox.retry(delivery, round(after_s * 1000), status, error)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether `event` is set within `seconds`."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False
