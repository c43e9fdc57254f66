"""Folders of the users. They exist only in the catalogue."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Select, Text, cast, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.cursors import after, make_cursor, parse_cursor
from saveany.catalogue.database import Database
from saveany.catalogue.models import Folder, FolderPage
from saveany.catalogue.tables import files, folders
from saveany.errors import InvalidInput, NotFound, WrongState
from saveany.planning.characters import is_hidden
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.catalogue.recorder import Recorder

#: The id of the folder that contains all others, of all users.
ROOT = 0
#: Maximum length of a folder name in characters.
MAX_NAME = 255
#: Number of ids in one statement; the databases have limits.
_LISTED = 1_000


class Folders:
    """Reading and changing folders. Changes raise `NotFound` for a folder that does not exist, or belongs to
    another user than the rest, `WrongState` if a name is taken, and `InvalidInput` for a name that is not
    allowed."""

    def __init__(self, database: Database, store: Store, recorder: Recorder) -> None:
        self._database = database
        self._store = store
        self._recorder = recorder

    async def children(
        self, parent_id: int, user_id: int | None, limit: int = 50, cursor: str = ""
    ) -> FolderPage:
        """At most `limit` of the folders in a folder after `cursor`, by name; only those of one user if
        given. Raises `InvalidInput` for an invalid cursor."""
        start, as_text = parse_cursor(cursor, str), cast(folders.c.id, Text)
        query = select(folders).where(folders.c.parent_id == parent_id, folders.c.id != ROOT)
        if user_id is not None:
            query = query.where(folders.c.user_id == user_id)
        query = after(query, folders.c.name, as_text, start, descending=False).limit(limit + 1)
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            found = [Folder(**row._mapping) for row in await connection.execute(query)]
        page, last = found[:limit], found[limit - 1] if len(found) > limit else None
        return FolderPage(page, make_cursor((last.name, str(last.id))) if last else "")

    async def get(self, folder_id: int) -> Folder | None:
        """The folder with this id, None if there is none; the root is none."""
        async with self._database.read() as connection:
            query = select(folders).where(folders.c.id == folder_id, folders.c.id != ROOT)
            row = (await connection.execute(query)).one_or_none()
        return Folder(**row._mapping) if row else None

    async def along(self, user_id: int, names: Sequence[str]) -> list[Folder]:
        """The folders of a user that these names lead through, from the top, up to the first that does not
        exist."""
        await self._recorder.catch_up()
        found: list[Folder] = []
        async with self._database.read() as connection:
            for name in names:
                parent = found[-1].id if found else ROOT
                query = select(folders).filter_by(user_id=user_id, parent_id=parent, name=name)
                row = (await connection.execute(query)).one_or_none()
                if row is None:
                    break
                found.append(Folder(**row._mapping))
        return found

    async def named(self, parent_id: int, user_id: int, names: Sequence[str]) -> set[str]:
        """Those of the names that folders of a user in a folder have."""
        same = folders.c.name.in_(names), folders.c.parent_id == parent_id, folders.c.user_id == user_id
        async with self._database.read() as connection:
            return set(await connection.scalars(select(folders.c.name).where(*same)))

    async def make(self, user_id: int, parent_id: int, name: str) -> Folder:
        """Make a folder of a user in another one of theirs, or at the top."""
        name = checked_name(name)
        await self._recorder.catch_up()
        async with self._change() as connection:
            await check_folder(connection, user_id, parent_id)
            await check_free(connection, user_id, parent_id, name)
            row = {"user_id": user_id, "parent_id": parent_id, "name": name}
            made = await connection.scalar(insert(folders).values(row).returning(folders.c.id))
        return Folder(id=int(made or ROOT), user_id=user_id, parent_id=parent_id, name=name)

    async def change(
        self, folder_id: int, *, name: str | None = None, parent_id: int | None = None
    ) -> Folder:
        """Rename a folder, or move it into another one of the same user; None leaves it as it is."""
        async with self._change() as connection:
            now = await _folder(connection, folder_id)
            new_name = now.name if name is None or name == now.name else checked_name(name)
            parent = now.parent_id if parent_id is None else parent_id
            await check_folder(connection, now.user_id, parent)
            inside = subtree(folder_id).subquery()
            if await connection.scalar(select(inside.c.id).where(inside.c.id == parent)) is not None:
                raise WrongState("a folder cannot be moved into itself, or into a folder in it")
            if (new_name, parent) != (now.name, now.parent_id):
                await check_free(connection, now.user_id, parent, new_name)
                changes = {"name": new_name, "parent_id": parent}
                await connection.execute(update(folders).where(folders.c.id == folder_id).values(changes))
        return Folder(id=folder_id, user_id=now.user_id, parent_id=parent, name=new_name)

    async def remove(self, folder_id: int, *, with_files: bool = False) -> None:
        """Remove a folder; links to it stop working. Unless `with_files` moves what is in it to the trash,
        raises `WrongState` if it is not empty."""
        await self._recorder.catch_up()
        now = await self._recorder.time_ms()
        async with self._change() as connection:
            await _folder(connection, folder_id)
            inside = files.c.folder_id.in_(subtree(folder_id)), files.c.deleted_at.is_(None)
            has_files = select(files.c.id).where(*inside).limit(1)
            has_folders = select(folders.c.id).where(folders.c.parent_id == folder_id).limit(1)
            for query in () if with_files else (has_files, has_folders):
                if await connection.scalar(query) is not None:
                    raise _not_empty()
            await connection.execute(update(files).where(*inside).values(deleted_at=now))
            await _leave(connection, folder_id)
            await connection.execute(delete(folders).where(folders.c.id.in_(subtree(folder_id))))
        await self._store.openings.changed()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes the tree; those of all processes follow each other."""
        try:
            async with self._database.write() as connection:
                # The recorder, which only adds folders, does not wait for this lock of PostgreSQL.
                root = select(folders.c.id).where(folders.c.id == ROOT)
                await connection.execute(root.with_for_update(key_share=True))
                yield connection
        except IntegrityError as error:  # the recorder has just added a folder or a file
            raise WrongState("a task has just saved a file there; try again") from error

    async def paths(self, folder_ids: Iterable[int]) -> dict[int, str]:
        """The paths of folders by id, such as `/films/2024`; that of the root is `/`."""
        async with self._database.read() as connection:
            return await _paths(connection, folder_ids)


async def _paths(connection: AsyncConnection, folder_ids: Iterable[int]) -> dict[int, str]:
    known: dict[int, tuple[int, str]] = {}  # id -> parent and name
    missing = set(folder_ids) - {ROOT}
    while missing:
        parents, listed = set[int](), list(missing)
        for start in range(0, len(listed), _LISTED):
            some = folders.c.id.in_(listed[start : start + _LISTED])
            for row in await connection.execute(select(folders).where(some)):
                known[row.id] = row.parent_id, row.name
                parents.add(row.parent_id)
        missing = parents - known.keys() - {ROOT}
    return {folder: _path(folder, known) for folder in folder_ids}


async def _leave(connection: AsyncConnection, removed: int) -> None:
    """Have the deleted files in a folder and below, which is removed next, remember their paths."""
    inside = select(files.c.folder_id).where(files.c.folder_id.in_(subtree(removed))).distinct()
    folder_ids = (await connection.scalars(inside)).all()
    for folder_id, path in (await _paths(connection, folder_ids)).items():
        move = update(files).where(files.c.folder_id == folder_id)
        await connection.execute(move.values(folder_id=ROOT, old_folder=path))


def _path(folder: int, known: dict[int, tuple[int, str]]) -> str:
    names: list[str] = []
    while folder in known:
        folder, name = known[folder]
        names.insert(0, name)
    return "/" + "/".join(names)


def checked_name(name: str) -> str:
    """The name of a file or folder, as it is stored. Raises `InvalidInput` for one that is not allowed."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name.strip(". "):
        raise InvalidInput("a name needs at least one character that is neither a dot nor a space", "name")
    if "/" in name or "\\" in name:
        raise InvalidInput("a name cannot contain / or \\; give the folder separately", "name")
    if any(is_hidden(character) for character in name):
        raise InvalidInput("the name contains control or invisible characters; remove them", "name")
    if len(name) > MAX_NAME:
        raise InvalidInput("the name is longer than {limit} characters", "name", limit=MAX_NAME)
    return name


async def check_folder(connection: AsyncConnection, user_id: int, folder_id: int) -> None:
    """Raise `NotFound` unless this is a folder of the user, or the root."""
    if folder_id != ROOT and (await _folder(connection, folder_id)).user_id != user_id:
        raise unknown_folder(folder_id)


async def check_free(connection: AsyncConnection, user_id: int, folder_id: int, name: str) -> None:
    """Raise `WrongState` if a file or folder of the user in this folder has the name."""
    place = {"user_id": user_id, "name": name}
    if await connection.scalar(select(folders.c.id).filter_by(parent_id=folder_id, **place)) is not None:
        raise WrongState("there is a folder named {name!r} in this folder; choose another name", name=name)
    same = select(files.c.id).filter_by(folder_id=folder_id, **place).where(files.c.deleted_at.is_(None))
    if await connection.scalar(same.limit(1)) is not None:
        raise WrongState("there is a file named {name!r} in this folder; choose another name", name=name)


def subtree(folder_id: int) -> Select[tuple[int]]:
    """A query for the ids of a folder and of all folders below it, which may be more than a statement may
    list."""
    tree = select(folders.c.id).where(folders.c.id == folder_id).cte("tree", recursive=True)
    below = select(folders.c.id).where(folders.c.parent_id == tree.c.id, folders.c.id != ROOT)
    return select(tree.union(below).c.id)


def unknown_folder(folder_id: int) -> NotFound:
    """The error for a folder that does not exist."""
    return NotFound("there is no folder {folder}", folder=folder_id)


def _not_empty() -> WrongState:
    return WrongState("this folder is not empty; move or delete what is in it first")


async def _folder(connection: AsyncConnection, folder_id: int) -> Folder:
    found = select(folders).where(folders.c.id == folder_id, folders.c.id != ROOT)
    row = (await connection.execute(found)).one_or_none()
    if row is None:
        raise unknown_folder(folder_id)
    return Folder(**row._mapping)


async def has_folder(connection: AsyncConnection, user_id: int, folder_id: int) -> bool:
    """Whether there is a folder of this user with this id."""
    query = select(folders.c.id).where(folders.c.id == folder_id, folders.c.user_id == user_id)
    return await connection.scalar(query) is not None


async def folder_at(connection: AsyncConnection, user_id: int, path: str, start: int = ROOT) -> int:
    """The id of the folder with this path below the folder `start`, created if necessary."""
    folder = start
    for name in filter(None, path.split("/")):
        folder = await _child(connection, user_id, folder, name[:MAX_NAME])
    return folder


async def _child(connection: AsyncConnection, user_id: int, parent: int, name: str) -> int:
    same = {"user_id": user_id, "parent_id": parent, "name": name}
    known = await connection.scalar(select(folders.c.id).filter_by(**same))
    if known is not None:
        return int(known)
    return int(await connection.scalar(insert(folders).values(same).returning(folders.c.id)) or ROOT)
