"""Reading the deliveries of webhooks, and sending one again."""

from __future__ import annotations

from saveany.errors import NotFound
from saveany.models import Delivery
from saveany.service.principal import Principal
from saveany.store import Store
from saveany.store.outbox import DeliveryBatch


class WebhookService:
    """The operations on deliveries of webhooks. Only the operator may call them (others get `Forbidden`),
    because they show the tasks of all users and the URLs of receivers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(
        self, principal: Principal, task_id: str = "", limit: int = 50, cursor: str = ""
    ) -> DeliveryBatch:
        """At most `limit` deliveries after `cursor`, newest first; only those of one task if `task_id` is
        given. Raises `InvalidInput` for a bad cursor."""
        principal.require_operator()
        return await self._store.outbox.page(task_id, limit, cursor)

    async def redeliver(self, principal: Principal, delivery_id: str) -> Delivery:
        """Send a webhook again now, whatever its state; returns the delivery. Raises `NotFound`."""
        principal.require_operator()
        delivery = await self._store.outbox.redeliver(delivery_id)
        if delivery is None:
            raise NotFound("there is no webhook delivery {id}", id=delivery_id)
        return delivery
