"""The loop that empties the outbox; every worker process runs one beside its downloads."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Literal, Protocol
from urllib.parse import urlsplit

from saveany.logs import get_logger
from saveany.models import Delivery
from saveany.webhooks.send import Delivered, GiveUp, Outcome, Retry, failed

LEASE_MS = 60_000
PER_HOST = 2

_MARGIN_S = 30.0  # what must be left of a lease to begin: an attempt ends within it
_QUEUE_PER_HOST = 8
_STUCK_S = 1.0  # a full queue that has not moved for so long is not waited for
_IDLE_S = 5.0
_TROUBLE_S = 1.0

log = get_logger(__name__)


class DeliveryQueue(Protocol):
    """Where deliveries wait until they are settled (`saveany.store.outbox`)."""

    async def claim(self, limit: int, lease_ms: int) -> list[Delivery]:
        """Up to `limit` that are due; each is due again after `lease_ms` unless it was settled by then."""

    async def settle(
        self, delivery: Delivery, state: Literal["delivered", "gave_up"], status: int, error: str
    ) -> None:
        """Count the attempt; it was the last."""

    async def retry(self, delivery: Delivery, after_ms: int, status: int, error: str) -> None:
        """Count the attempt; the next is due in `after_ms`."""

    async def wait(self, timeout: float) -> None:
        """Return when something may be due, after `timeout` seconds at the latest."""


class Sends(Protocol):
    """What makes one attempt (`saveany.webhooks.send.WebhookSender`)."""

    async def send(self, delivery: Delivery, now_ms: int) -> Outcome:
        """Make one attempt; `Delivery.attempts` were made before."""


async def deliver_forever(
    outbox: DeliveryQueue, sender: Sends, stop: asyncio.Event, concurrency: int = 8
) -> None:
    """Deliver what is due until `stop`, then finish what was begun and return.

    At most `concurrency` attempts run at once, `PER_HOST` to one host. No failure ends the loop: what could
    not be settled is due again when its lease ends, so a receiver may get it twice, under one id.
    """
    message_sender = _HostSender(outbox, sender, stop, concurrency)
    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            try:
                await message_sender.round(group)
            except Exception as error:
                log.error("the webhook outbox cannot be read", error=str(error))
                await _set_within(stop, _TROUBLE_S)


class _Host:
    """The queue before one host."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(PER_HOST)
        self.members = 0
        self.moved = asyncio.Event()
        self.moved_at = time.monotonic()

    def leave(self) -> None:
        self.members -= 1
        self.moved_at = time.monotonic()
        self.moved.set()

    async def room(self) -> bool:
        """Whether one more may queue; waits while the queue is full but moving."""
        while self.members >= _QUEUE_PER_HOST:
            patience = self.moved_at + _STUCK_S - time.monotonic()
            self.moved.clear()
            if patience <= 0 or not await _set_within(self.moved, patience):
                return False
        return True


class _HostSender:
    def __init__(self, outbox: DeliveryQueue, sender: Sends, stop: asyncio.Event, concurrency: int) -> None:
        self._outbox = outbox
        self._sender = sender
        self._stop = stop
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._held = asyncio.Semaphore(concurrency * _QUEUE_PER_HOST)
        self._hosts: dict[str, _Host] = {}

    async def round(self, group: asyncio.TaskGroup) -> None:
        """Take what is due and start it, or wait until something is."""
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
        # What a stuck host has no room for is left to its lease: so the next claims reach other hosts.
        if await host.room():
            self._hosts[name] = host
            host.members += 1
            await self._held.acquire()
            group.create_task(self._in_turn(delivery, name, host, leased_until))

    async def _in_turn(self, delivery: Delivery, name: str, host: _Host, leased_until: float) -> None:
        try:
            # In this order: who waits for a host takes no slot from others.
            async with host.turns, self._slots:
                if time.monotonic() < leased_until - _MARGIN_S and not self._stop.is_set():
                    await self._deliver(delivery)
        finally:
            self._held.release()
            host.leave()
            if not host.members:
                self._hosts.pop(name, None)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._settle(delivery, await self._attempt(delivery))
        except Exception as error:
            log.error("the outcome of a webhook cannot be written", id=delivery.id, error=str(error))

    async def _attempt(self, delivery: Delivery) -> Outcome:
        try:
            return await self._sender.send(delivery, time.time_ns() // 1_000_000)
        except Exception as error:
            log.exception("sending a webhook failed", id=delivery.id)
            return failed(delivery, 0, f"internal error: {type(error).__name__}")

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        match outcome:
            case Delivered(status):
                await self._outbox.settle(delivery, "delivered", status, "")
            case GiveUp(status, error):
                log.warning("webhook given up", id=delivery.id, task=delivery.task_id, error=error)
                await self._outbox.settle(delivery, "gave_up", status, error)
            case Retry(after_s, status, error):
                log.info("webhook failed, trying again", id=delivery.id, after_s=round(after_s), error=error)
                await self._outbox.retry(delivery, round(after_s * 1000), status, error)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; False if it did not come in time."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False
