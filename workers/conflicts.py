"""Chooses the path of a file when another file has the same one, or is being saved there."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec

from saveany.errors import NameTaken, Retryable
from saveany.models import Item, ItemStatus, OnConflict
from saveany.planning import paths
from saveany.planning.names import numbered
from storages.base import Receipt, Storage
from workers.recovery import completed
from workers.transfer_context import TransferContext

replace = msgspec.structs.replace


class Publish(Protocol):
    """Makes a file visible at a path (`Upload.commit`, `Storage.move`). Raises `NameTaken`."""

    def __call__(self, path: str, /, *, replace: bool) -> Awaitable[Receipt]:
        """`replace` allows another file at that path to be replaced."""


class ConflictPolicy:
    """The `on_conflict` of a task, applied to the files that go to one storage.

    A storage that can rename an upload at the end, and gives a free name to one of several uploads only,
    needs no help before that. In any other storage a path is reserved for the item first, against all other
    tasks.
    """

    def __init__(self, context: TransferContext, storage: Storage) -> None:
        self._context = context
        self._storage = storage
        can = storage.capabilities
        self._reserves = not (can.exclusive and can.late_name)

    async def skips(self, item: Item) -> bool:
        """Whether the file need not be saved: its path is taken, or it is to be moved to where it is."""
        if self._context.place_before_move(item, self._storage) == (self._storage, item.path):
            return True
        if self._context.on_conflict is not OnConflict.SKIP:
            return False
        return await self._storage.size(item.path) is not None

    async def reserve(self, item: Item) -> Item:
        """The item, at a path that no other task uses. Raises `Retryable` if another task uses the only path
        that the policy allows."""
        if not self._reserves:
            return item
        while not await self._reserved(item):
            if self._context.on_conflict is not OnConflict.RENAME:
                raise Retryable(
                    "{path}: another task is saving a file with this name", path=item.path, after=5
                )
            item = replace(item, path=await self._next_path(item))
        return item

    async def release(self, item: Item) -> None:
        """End the reservation of an item that is visible, or was skipped."""
        if self._reserves:
            await self._context.claim.release_name(item.index, self._storage.name, item.path)

    async def publish(self, item: Item, status: ItemStatus, publish: Publish) -> Item:
        """Make the file visible by `publish`, under a name that is recorded first, together with `status`.

        Returns the item, completed, or skipped if its path has been taken meanwhile and the policy says so.
        Raises `NameTaken` if neither the policy nor the storage allows another name.
        """
        policy, final = self._context.on_conflict, item.path
        while True:
            item = replace(item, status=status, final=final)
            await self._context.records.put(item)
            try:
                receipt = await publish(final, replace=policy is OnConflict.OVERWRITE)
            except NameTaken:
                if policy is OnConflict.SKIP:
                    return replace(item, status=ItemStatus.SKIPPED, final="", sha256="")
                if policy is OnConflict.OVERWRITE or not self._storage.capabilities.late_name:
                    raise
                final = await self._next_path(item)
            else:
                return completed(item, receipt)

    async def _reserved(self, item: Item) -> bool:
        if not await self._context.claim.reserve_name(item.index, self._storage.name, item.path):
            return False
        return (
            self._context.on_conflict is not OnConflict.RENAME or await self._storage.stat(item.path) is None
        )

    async def _next_path(self, item: Item) -> str:
        """The path with the next number in its name, which no other file gets. It does not depend on the
        order in which the files of the task are saved."""
        first = path = paths.sibling(item.path, item.name)
        while path == first or self._context.records.is_path_of_other(item, path):
            number = await self._context.claim.next_suffix(self._storage.name, first)
            path = paths.sibling(first, numbered(item.name, number))
        return path
