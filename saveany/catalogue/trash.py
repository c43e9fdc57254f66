"""The trash: deleted files, until their copies are removed.

A file in the trash can be restored. When it leaves the trash, a worker removes its copy, unless another file
has the same one (`saveany.store.removals`). The row stays until its task is forgotten: the task may be
recorded again, and must not bring the file back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.cursors import parse_cursor
from saveany.catalogue.database import Database
from saveany.catalogue.files import COLUMNS, read_page, unknown_file
from saveany.catalogue.folders import folder_at
from saveany.catalogue.listing import Listing
from saveany.catalogue.models import FilePage, SavedFile
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.tables import files, tasks
from saveany.errors import NotFound
from saveany.loops import Signal
from saveany.store import Store
from saveany.store.removals import Removal, split_copy

_DAY_MS = 24 * 3600 * 1000
#: Maximum number of copies of one storage that wait for a worker.
_MAX_WAITING = 200
#: Maximum number of files that are forgotten at a time.
_MAX_FORGOTTEN = 1_000
#: Seconds between two sweeps, and while removals wait for workers.
_SWEEP_SECONDS, _WAITING_SECONDS = 60.0, 2.0

_in_trash = and_(files.c.deleted_at.is_not(None), files.c.purged_at.is_(None))
_pending = and_(files.c.removed_at.is_(None), files.c.purged_at > 0)
_newest_first = Listing(files, "deleted_at", descending=True)
#: Path and reference, which identify a copy in its storage.
_Copy = tuple[str, str]
_copy = tuple_(files.c.path, files.c.reference)


class Trash:
    """Deleting files, restoring them, and having their copies removed."""

    def __init__(self, database: Database, store: Store, recorder: Recorder, days: int) -> None:
        """Files leave the trash after `days`; 0 keeps them until it is emptied."""
        self._database = database
        self._store = store
        self._recorder = recorder
        self._days = days
        self._wake_up = Signal()

    async def page(self, user_id: int | None = None, limit: int = 50, cursor: str = "") -> FilePage:
        """At most `limit` files in the trash after `cursor`, those deleted last first."""
        start = parse_cursor(cursor, int)
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            page = await _newest_first.page(connection, _of(user_id), "", start, limit)
            return await read_page(connection, page)

    async def get(self, file_id: str) -> SavedFile | None:
        """The file with this id in the trash, None if there is none."""
        async with self._database.read() as connection:
            return await _found(connection, file_id)

    async def put(self, file_id: str, *, now: bool = False) -> None:
        """Delete a file: its links stop working in the same transaction. With `now` it does not stay in the
        trash, also if it is there already. Raises `NotFound`."""
        at = await self._store.db.time_ms()
        changes = {"deleted_at": at, **({"purged_at": at} if now else {})}
        where = files.c.deleted_at.is_(None)
        async with self._database.write() as connection:
            query = update(files).where(files.c.id == file_id, or_(where, _in_trash) if now else where)
            gone = await connection.scalar(query.values(changes).returning(files.c.id))
        if gone is None:
            raise unknown_file(file_id)
        await self._store.openings.changed()
        if now:
            self._wake_up.send()

    async def restore(self, file_id: str) -> None:
        """Take a file out of the trash: its links work again. Raises `NotFound` if it is not there."""
        async with self._database.write() as connection:
            columns = files.c.user_id, files.c.old_folder
            found = await connection.execute(select(*columns).where(files.c.id == file_id, _in_trash))
            row = found.one_or_none()
            if row is None:
                raise NotFound("there is no file {file} in the trash", file=file_id)
            back: dict[str, int | None] = {"deleted_at": None, "old_folder": None}
            if row.old_folder:
                back["folder_id"] = await folder_at(connection, row.user_id, row.old_folder)
            await connection.execute(update(files).where(files.c.id == file_id).values(back))

    async def empty(self, user_id: int | None = None) -> int:
        """Have the copies of all files in the trash removed, or of those of one user; returns how many."""
        at = await self._store.db.time_ms()
        query = update(files).where(*_of(user_id)).values(purged_at=at)
        async with self._database.write() as connection:
            count = (await connection.execute(query)).rowcount
        self._wake_up.send()
        return count

    async def step(self) -> None:
        """Sweep once, then wait until that is due again."""
        seen = self._wake_up.count
        waiting = await self.sweep()
        await self._wake_up.wait(_WAITING_SECONDS if waiting else _SWEEP_SECONDS, since=seen)

    async def forget(self) -> None:
        """Forget deleted files without a copy whose tasks cannot be recorded again."""
        kept = select(tasks.c.id).where(tasks.c.id == files.c.task_id).exists()
        query = select(files.c.id, files.c.task_id).where(files.c.removed_at > 0, ~kept).limit(_MAX_FORGOTTEN)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        exists = self._store.tasks.exists
        gone = [row.id for row in rows if not (row.task_id and await exists(row.task_id))]
        async with self._database.write() as connection:
            await connection.execute(delete(files).where(files.c.id.in_(gone)))

    async def sweep(self) -> bool:
        """Have copies removed whose files have left the trash, and record those that are gone. Returns
        whether some remain."""
        await self._purge_old()
        await self._record_removed()
        nonce = uuid4().hex
        async with self._database.read() as connection:
            storages = (await connection.scalars(select(files.c.storage).where(_pending).distinct())).all()
        for storage in storages:
            await self._propose(storage, nonce)
        return bool(storages)

    async def _purge_old(self) -> None:
        if not self._days:
            return
        at = await self._store.db.time_ms()
        old = and_(_in_trash, files.c.deleted_at <= at - self._days * _DAY_MS)
        async with self._database.write() as connection:
            await connection.execute(update(files).where(old).values(purged_at=at))

    async def _propose(self, storage: str, nonce: str) -> None:
        """Make removals ready for copies that no file needs. The order of these steps matters: see
        `saveany.store.removals`."""
        async with self._database.read() as connection:
            query = select(files.c.path, files.c.size, files.c.reference)
            query = query.where(_pending, files.c.storage == storage).order_by(files.c.purged_at)
            rows = await connection.execute(query.limit(_MAX_WAITING))
            removals = [Removal(storage, row.path, row.size, row.reference) for row in rows]
            wanted = {each.copy: each for each in removals}
        proposed = [
            each
            for each in await self._store.removals.open(list(wanted.values()))
            if await self._store.removals.propose(each, nonce)
        ]
        if not proposed or not await self._recorder.catch_up_completely():
            return
        async with self._database.write() as connection:
            copies = [(each.path, each.reference) for each in proposed]
            needed = await _needed(connection, storage, copies)
            await _mark_removed(connection, storage, needed)
        for each, copy in zip(proposed, copies, strict=True):
            await self._store.removals.decide(each, nonce, needed=copy in needed)

    async def _record_removed(self) -> None:
        """Record the copies that workers have removed."""
        while places := await self._store.removals.removed():
            by_storage = defaultdict(list)
            for storage, copy in places:
                by_storage[storage].append(split_copy(copy))
            async with self._database.write() as connection:
                for storage, copies in by_storage.items():
                    await _mark_removed(connection, storage, copies)
            if not await self._store.removals.forget(places):
                return  # they are damaged


def _of(user_id: int | None) -> list[ColumnElement[bool]]:
    return [_in_trash] if user_id is None else [_in_trash, files.c.user_id == user_id]


async def _found(connection: AsyncConnection, file_id: str) -> SavedFile | None:
    row = (await connection.execute(select(*COLUMNS).where(files.c.id == file_id, _in_trash))).one_or_none()
    return SavedFile(**row._mapping) if row else None


async def _needed(connection: AsyncConnection, storage: str, copies: Collection[_Copy]) -> set[_Copy]:
    """Those of these copies that files have which may still be read or restored."""
    same = files.c.storage == storage, _copy.in_(copies), files.c.purged_at.is_(None)
    rows = await connection.execute(select(files.c.path, files.c.reference).where(*same))
    return {(row.path, row.reference) for row in rows}


async def _mark_removed(connection: AsyncConnection, storage: str, copies: Collection[_Copy]) -> None:
    """The copies of these files need not be removed any more."""
    same = and_(files.c.storage == storage, _copy.in_(copies), _pending)
    await connection.execute(update(files).where(same).values(removed_at=files.c.purged_at))
