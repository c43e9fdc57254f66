"""The data that the transfers of one task share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from saveany.models import Item, OnConflict, TaskSpec
from saveany.store import Claim
from storages.base import Storage, UploadKey
from workers.item_records import ItemRecords
from workers.progress import ProgressMeter
from workers.publishing_order import PublishingOrder
from workers.slots import SlotUse
from workers.sources.base import Source


@dataclass(frozen=True, slots=True)
class TransferContext:
    """The claim and everything that a transfer of one of its files needs."""

    claim: Claim
    records: ItemRecords
    source: Source
    #: Returns the storage that an item goes to. Raises `StorageUnavailable` if it does not work now, and
    #: `Permanent` if this worker does not have it.
    storage_of: Callable[[Item], Storage]
    meter: ProgressMeter
    slot: SlotUse
    #: Folder on this machine for files that must be spooled.
    scratch: Path
    order: PublishingOrder = field(default_factory=PublishingOrder)

    @property
    def spec(self) -> TaskSpec:
        """The request behind the task."""
        return self.claim.task.spec

    @property
    def on_conflict(self) -> OnConflict:
        """The policy for a file whose path is taken."""
        return self.spec.on_conflict

    def upload_key(self, item: Item) -> UploadKey:
        """The key under which this claim uploads an item."""
        return UploadKey(self.claim.task.id, item.index, self.claim.task.epoch, item.undone)

    def place_before_move(self, item: Item, storage: Storage) -> tuple[Storage, str] | None:
        """The storage and the path from which the item is to be moved into `storage`. None if the task does
        not move files, or the storage cannot take them from there."""
        origin = self.source.origin(item) if self.source.moves(self.spec) else None
        return origin if origin and storage.takes_from(origin[0]) else None
