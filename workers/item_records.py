"""The items of a claim and their checkpoints, as they are recorded in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from saveany.models import Checkpoint, Delivery, Item, ItemStatus
from saveany.single_flight import SingleFlight
from saveany.store import Claim
from workers.group_commit import GroupCommit
from workers.path_index import PathIndex

_BEGUN = (ItemStatus.RUNNING, ItemStatus.FINISHING)


@dataclass(slots=True)
class Totals:
    """Sums over all items of a task."""

    files: int = 0
    size: int = 0  # of the items whose size is known
    unknown_sizes: int = 0
    done: int = 0
    saved: int = 0  # bytes of the items that are done

    @classmethod
    def of(cls, items: Sequence[Item]) -> Totals:
        """The sums over these items."""
        totals = cls()
        for item in items:
            totals._add(item, 1)
        return totals

    def add(self, item: Item) -> None:
        """There is one more item."""
        self._add(item, 1)

    def replace(self, before: Item, after: Item) -> None:
        """An item has changed."""
        self._add(before, -1)
        self._add(after, 1)

    def _add(self, item: Item, times: int) -> None:
        size = (item.size or 0) * times
        self.files += times
        self.size += size
        self.unknown_sizes += times * (item.size is None)
        self.done += times * item.status.done
        self.saved += size * item.status.done


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
    What is done for each item takes the same time however many items there are.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._begun: set[int] = set()  # indexes of the items that this claim has begun to save
        self._checkpoints: dict[int, Checkpoint] | None = None if claim.task.epoch > 1 else {}
        self._loading = SingleFlight()
        self._changes = GroupCommit(self._write, _Change.joins)
        self.replace_all(claim.items)

    def replace_all(self, items: Sequence[Item]) -> None:
        """These are the items of the task from now on; the store has them already."""
        self.items: list[Item] = list(items)
        self.totals = Totals.of(self.items)
        self._paths: PathIndex | None = None  # most tasks never need it

    def add(self, item: Item) -> None:
        """The task has one more item; the store has it already."""
        self.items.append(item)
        self.totals.add(item)
        if self._paths:
            self._paths.record(item)

    @property
    def pending(self) -> list[Item]:
        """Items that are not saved yet, including those that failed in an earlier run."""
        return [item for item in self.items if not item.status.done]

    @property
    def unfinished(self) -> list[Item]:
        """Items that were begun: their storage may hold parts of them."""
        return [item for item in self.items if item.status in _BEGUN]

    def begin(self, index: int) -> None:
        """The storage may hold parts of an item from now on."""
        self._begun.add(index)

    def may_have_parts(self, index: int) -> bool:
        """Whether the storage may hold parts of an item, from this claim or an earlier one. To look for them
        is slow in a large folder. Small files are recorded as running before they are begun."""
        return index in self._begun or self._claim.task.epoch > 1

    def is_path_of_other(self, item: Item, path: str) -> bool:
        """Whether another item goes to `path` in the same storage."""
        return self._path_index().is_taken(item, path)

    def choose_path(self, item: Item) -> str:
        """The path of an item, numbered if it is that of another item, or was chosen for one that is not
        recorded yet."""
        return self._path_index().choose(item)

    async def put(self, *items: Item, deliveries: Sequence[Delivery] = ()) -> None:
        """Record items and the webhooks about them in one step. Raises `Fenced`, `CancelRequested`,
        `StopRequested` and `PauseRequested`."""
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

    def _path_index(self) -> PathIndex:
        if self._paths is None:
            self._paths = PathIndex(self.items)
        return self._paths

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
            (await self._known_checkpoints()).update(checkpoints)
            return
        items = [item for change in changes for item in change.items]
        deliveries = [delivery for change in changes for delivery in change.deliveries]
        await self._claim.item(*items, deliveries=deliveries, even_canceled=changes[0].even_canceled)
        for item in items:
            self.totals.replace(self.items[item.index], item)
            if self._paths:
                self._paths.record(item)
            self.items[item.index] = item
