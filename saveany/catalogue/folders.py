"""Folders of the users. They exist only in the catalogue."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from saveany.catalogue.tables import folders

#: The id of the folder that contains all others.
ROOT = 0
#: Maximum length of a folder name in characters.
MAX_NAME = 255


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
