"""The items of a claim, as they stand in the store."""

from __future__ import annotations

from collections.abc import Sequence

from saveany.models import Delivery, Item, ItemStatus
from saveany.store import Claim


class ItemRecords:
    """In memory what is recorded, never more: an item changes here only after the store has taken it."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.items: list[Item] = list(claim.items)

    @property
    def pending(self) -> list[Item]:
        """What is left to do; an item that failed in an earlier run is."""
        return [item for item in self.items if not item.status.done]

    @property
    def begun(self) -> list[Item]:
        """What is half done: something of it may lie in the storage."""
        return [item for item in self.items if item.status in (ItemStatus.RUNNING, ItemStatus.FINISHING)]

    async def put(self, *items: Item, told: Sequence[Delivery] = ()) -> None:
        """Record items, and webhooks with them, at once. Raises `Fenced` and `CancelRequested`."""
        await self._claim.item(*items, told=told)
        for item in items:
            self.items[item.index] = item

    async def reset(self, item: Item) -> None:
        """Record an item even if the task was canceled: what it had is being removed. Raises `Fenced`."""
        await self._claim.item(item, even_canceled=True)
        self.items[item.index] = item
