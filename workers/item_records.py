"""The items of a claim, as they are recorded in the store."""

from __future__ import annotations

from collections.abc import Sequence

from saveany.models import Delivery, Item, ItemStatus
from saveany.store import Claim


class ItemRecords:
    """The recorded items, in memory: an item changes here only after the store has accepted the change."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.items: list[Item] = list(claim.items)

    @property
    def pending(self) -> list[Item]:
        """Items that are not saved yet, including those that failed in an earlier run."""
        return [item for item in self.items if not item.status.done]

    @property
    def unfinished(self) -> list[Item]:
        """Items that were begun: their storage may hold parts of them."""
        return [item for item in self.items if item.status in (ItemStatus.RUNNING, ItemStatus.FINISHING)]

    async def put(self, *items: Item, deliveries: Sequence[Delivery] = ()) -> None:
        """Record items and the webhooks about them in one step. Raises `Fenced` and `CancelRequested`."""
        await self._claim.item(*items, deliveries=deliveries)
        for item in items:
            self.items[item.index] = item

    async def reset(self, item: Item) -> None:
        """Record an item even if the task was canceled, because its parts are being removed. Raises
        `Fenced`."""
        await self._claim.item(item, even_canceled=True)
        self.items[item.index] = item

    async def confirm(self, item: Item) -> None:
        """Raise `Fenced` if the claim is lost. The record stays as it is."""
        await self._claim.item(item, even_canceled=True)
