"""The items of a claim and their checkpoints, as they are recorded in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from saveany.models import Checkpoint, Delivery, Item, ItemStatus
from saveany.planning import paths
from saveany.single_flight import SingleFlight
from saveany.store import Claim
from workers.group_commit import GroupCommit


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of the records that is written in one step: of items, or of checkpoints."""

    items: Sequence[Item] = ()
    deliveries: Sequence[Delivery] = ()
    checkpoints: Mapping[int, Checkpoint] = field(default_factory=dict)
    even_canceled: bool = False

    def joins(self, other: _Change) -> bool:
        """Whether both can be written in one step, which is either refused or done as a whole."""
        return (self.even_canceled, not self.checkpoints) == (other.even_canceled, not other.checkpoints)


class ItemRecords:
    """The records, in memory: they change here only after the store has accepted the change.

    Changes by files that are saved at the same time are written together; one write of a claim is in flight.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.items: list[Item] = list(claim.items)
        self._checkpoints: dict[int, Checkpoint] | None = None if claim.task.epoch > 1 else {}
        self._loading = SingleFlight()
        self._chosen: dict[int, tuple[str, str]] = {}  # storage and path, by index
        self._changes = GroupCommit(self._write, _Change.joins)

    @property
    def pending(self) -> list[Item]:
        """Items that are not saved yet, including those that failed in an earlier run."""
        return [item for item in self.items if not item.status.done]

    @property
    def unfinished(self) -> list[Item]:
        """Items that were begun: their storage may hold parts of them."""
        return [item for item in self.items if item.status in (ItemStatus.RUNNING, ItemStatus.FINISHING)]

    def is_path_of_other(self, item: Item, path: str) -> bool:
        """Whether another item goes to `path` in the same storage."""
        return any(
            other.path == path and other.index != item.index and other.storage == item.storage
            for other in self.items
        )

    def choose_path(self, item: Item) -> str:
        """The path of an item, numbered if it is that of another item, or was chosen for one that is not
        recorded yet."""
        others = {other.index: (other.storage, other.path) for other in self.items}
        taken = [(index, *where) for known in (others, self._chosen) for index, where in known.items()]
        path = paths.distinct_from(
            [path for index, storage, path in taken if index != item.index and storage == item.storage],
            item.path,
        )
        self._chosen[item.index] = (item.storage, path)
        return path

    async def put(self, *items: Item, deliveries: Sequence[Delivery] = ()) -> None:
        """Record items and the webhooks about them in one step. Raises `Fenced`, `CancelRequested` and
        `PauseRequested`."""
        await self._changes.add(_Change(items, deliveries))

    async def reset(self, item: Item) -> None:
        """Record an item even if the task was canceled, because its parts are being removed. Raises
        `Fenced`."""
        await self._changes.add(_Change([item], even_canceled=True))

    async def confirm(self, item: Item) -> None:
        """Raise `Fenced` if the claim is lost. The record stays as it is."""
        await self._changes.add(_Change([item], even_canceled=True))

    async def checkpoint(self, index: int, checkpoint: Checkpoint) -> None:
        """Record which bytes of an item are durable, so that the next claim continues from them. Raises
        `Fenced` and `CancelRequested`."""
        await self._changes.add(_Change(checkpoints={index: checkpoint}))

    async def last_checkpoint(self, index: int) -> Checkpoint | None:
        """The last checkpoint of an item, by this claim or an earlier one; None if there is none."""
        return (await self._known_checkpoints()).get(index)

    async def drain(self) -> None:
        """Wait until no write is in flight, after those who wanted it were canceled."""
        await self._changes.drain()

    async def _known_checkpoints(self) -> dict[int, Checkpoint]:
        if self._checkpoints is None:
            found = await self._loading.run("checkpoints", self._claim.checkpoints)
            if self._checkpoints is None:
                self._checkpoints = found
        return self._checkpoints

    async def _write(self, changes: Sequence[_Change]) -> None:
        checkpoints = {index: each for change in changes for index, each in change.checkpoints.items()}
        if checkpoints:
            await self._claim.record_checkpoints(checkpoints)
            self._checkpoints = (await self._known_checkpoints()) | checkpoints
            return
        items = [item for change in changes for item in change.items]
        deliveries = [delivery for change in changes for delivery in change.deliveries]
        await self._claim.item(*items, deliveries=deliveries, even_canceled=changes[0].even_canceled)
        for item in items:
            self.items[item.index] = item
