"""Reading the deliveries of webhooks, and sending one again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from saveany.config import Config
from saveany.errors import InvalidInput, NotFound
from saveany.models import Delivery
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader
from saveany.store import Store
from saveany.store.outbox import DeliveryBatch
from saveany.timefmt import rfc3339

#: Pages that are read to fill one of a user.
_MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class WebhookTestResult:
    """What became of a test."""

    url: str
    status: int  # HTTP status; 0 if there was no response
    error: str  # "" if it was delivered
    seconds: float


class WebhookService:
    """The operations on deliveries of webhooks. A user sees those to the URLs that their own tasks name; all
    others, among them those to the URL of the operator, do not exist for them (`NotFound`)."""

    def __init__(self, config: Config, store: Store, reader: TaskReader) -> None:
        self._config = config
        self._store = store
        self._reader = reader

    async def page(
        self, principal: Principal, task_id: str = "", limit: int = 50, cursor: str = ""
    ) -> DeliveryBatch:
        """At most `limit` deliveries after `cursor`, newest first; only those of one task if `task_id` is
        given. A page of a user may be short, even empty, although more pages follow. Raises `InvalidInput`
        for a bad cursor, and `NotFound` for a task of another user."""
        if principal.is_operator:
            return await self._store.outbox.page(task_id, limit, cursor)
        if task_id and task_id not in await self._own_tasks(principal, [task_id]):
            raise NotFound("there is no task {task}", task=task_id)
        found: list[Delivery] = []
        for _ in range(_MAX_PAGES):
            page = await self._store.outbox.page(task_id, limit - len(found), cursor)
            found += await self._visible(principal, page.deliveries)
            cursor = page.cursor
            if not cursor or len(found) == limit:
                break
        return DeliveryBatch(found, cursor)

    async def redeliver(self, principal: Principal, delivery_id: str) -> Delivery:
        """Send a webhook again now, whatever its state; returns the delivery. Raises `NotFound`."""
        delivery = await self._store.outbox.get(delivery_id)
        if delivery and await self._visible(principal, [delivery]):
            delivery = await self._store.outbox.redeliver(delivery_id)
        else:
            delivery = None
        if delivery is None:
            raise NotFound("there is no webhook delivery {id}", id=delivery_id)
        return delivery

    async def test(self, principal: Principal, url: str = "") -> WebhookTestResult:
        """Send a signed webhook with the event `test` now, to `api.webhook_url` or to another `url`. Raises
        `Forbidden` for anybody but the operator, and `InvalidInput` if there is no URL."""
        from saveany.webhooks.send import Delivered, WebhookSender

        principal.require_operator()
        target = url or self._config.api.webhook_url.get_secret_value()
        if not target:
            raise InvalidInput("api.webhook_url is not set; set it, or give another address", "url")
        now = time.time_ns() // 1_000_000
        body = msgspec.json.encode({"event": "test", "created_at": rfc3339(now)}).decode()
        delivery = Delivery(
            id=f"msg_{uuid4().hex}_test",
            task_id="",
            event="test",
            url=target,
            body=body,
            trusted=not url,
            created_at=now,
        )
        sender = await WebhookSender.configured(self._config, self._store)
        started = time.monotonic()
        try:
            outcome = await sender.send(delivery, now)
        finally:
            await sender.aclose()
        seconds = round(time.monotonic() - started, 3)
        error = "" if isinstance(outcome, Delivered) else outcome.error
        return WebhookTestResult(target, outcome.status, error, seconds)

    async def test_notification(self, principal: Principal, url: str = "") -> list[str]:
        """Send a test to each URL of `[notify] urls`, or to another `url`. Returns for each why it failed;
        "" if it was sent. Raises `Forbidden` for anybody but the operator, and `InvalidInput` if there is
        none."""
        from saveany.webhooks.notify import notify

        principal.require_operator()
        urls = [url] if url else [each.get_secret_value() for each in self._config.notify.urls]
        if not urls:
            raise InvalidInput("[notify] urls is empty; set it, or give a URL", "url")
        language = self._config.lang
        return await asyncio.gather(*(notify(each, {"event": "test"}, language) for each in urls))

    async def _visible(self, principal: Principal, deliveries: list[Delivery]) -> list[Delivery]:
        if principal.is_operator:
            return deliveries
        asked = [delivery for delivery in deliveries if not delivery.trusted]
        own = await self._own_tasks(principal, {delivery.task_id for delivery in asked})
        return [delivery for delivery in asked if delivery.task_id in own]

    async def _own_tasks(self, principal: Principal, task_ids: Collection[str]) -> set[str]:
        tasks = await self._reader.get_many(list(task_ids)) if task_ids else []
        return {task.id for task in tasks if principal.may_access(task.spec.user_id)}
