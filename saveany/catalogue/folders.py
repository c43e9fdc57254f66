"""Folders of the users. They exist only in the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue.database import Database
from saveany.catalogue.models import Folder
from saveany.catalogue.tables import folders

if TYPE_CHECKING:
    from saveany.catalogue.recorder import Recorder

#: The id of the folder that contains all others, of all users.
ROOT = 0
#: Maximum length of a folder name in characters.
MAX_NAME = 255


class Folders:
    """Reading folders."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def children(self, parent_id: int, user_id: int | None) -> list[Folder]:
        """The folders in a folder, by name; only those of one user if given."""
        query = select(folders).where(folders.c.parent_id == parent_id, folders.c.id != ROOT)
        if user_id is not None:
            query = query.where(folders.c.user_id == user_id)
        await self._recorder.catch_up()
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by(folders.c.name, folders.c.user_id))
            return [Folder(**row._mapping) for row in found]

    async def get(self, folder_id: int) -> Folder | None:
        """The folder with this id, None if there is none; the root is none."""
        async with self._database.read() as connection:
            query = select(folders).where(folders.c.id == folder_id, folders.c.id != ROOT)
            row = (await connection.execute(query)).one_or_none()
        return Folder(**row._mapping) if row else None

    async def paths(self, folder_ids: Iterable[int]) -> dict[int, str]:
        """The paths of folders by id, such as `/films/2024`; that of the root is `/`."""
        known: dict[int, tuple[int, str]] = {}  # id -> parent and name
        missing = set(folder_ids) - {ROOT}
        async with self._database.read() as connection:
            while missing:
                query = select(folders).where(folders.c.id.in_(missing))
                found = {row.id: (row.parent_id, row.name) for row in await connection.execute(query)}
                known |= found
                missing = {parent for parent, _ in found.values()} - known.keys() - {ROOT}
        return {folder: _path(folder, known) for folder in folder_ids}


def _path(folder: int, known: dict[int, tuple[int, str]]) -> str:
    names: list[str] = []
    while folder in known:
        folder, name = known[folder]
        names.insert(0, name)
    return "/" + "/".join(names)


async def folder_at(connection: AsyncConnection, user_id: int, path: str) -> int:
    """The id of the folder with this path, created if necessary."""
    folder = ROOT
    for name in filter(None, path.split("/")):
        folder = await _child(connection, user_id, folder, name[:MAX_NAME])
    return folder


async def _child(connection: AsyncConnection, user_id: int, parent: int, name: str) -> int:
    same = {"user_id": user_id, "parent_id": parent, "name": name}
    known = await connection.scalar(select(folders.c.id).filter_by(**same))
    if known is not None:
        return int(known)
    return int(await connection.scalar(insert(folders).values(same).returning(folders.c.id)) or ROOT)
