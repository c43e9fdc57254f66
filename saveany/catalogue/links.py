"""Links: who made them, where they lead, and how long they work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update

from saveany.catalogue.cursors import make_cursor, parse_cursor
from saveany.catalogue.database import Database
from saveany.catalogue.folders import subtree
from saveany.catalogue.link_models import (
    FolderFiles,
    Link,
    LinkedFile,
    LinkPage,
    LinkTarget,
    State,
    TelegramMedia,
)
from saveany.catalogue.listing import Listing
from saveany.catalogue.recorder import Recorder
from saveany.catalogue.tables import files, folders, links
from saveany.ids import is_token, new_token
from saveany.planning.names import safe_name
from saveany.store import Store

#: Maximum number of files that a link to a folder delivers.
MAX_FILES: Final = 10_000

_newest_first = Listing(links, "made_at", descending=True)


class Links:
    """Making, finding, changing and counting links."""

    def __init__(self, database: Database, store: Store, recorder: Recorder) -> None:
        self._database = database
        self._store = store
        self._recorder = recorder

    async def make(
        self,
        user_id: int,
        target: LinkTarget,
        name: str,
        *,
        expires_at: int | None = None,
        max_downloads: int | None = None,
        password: str = "",
        inline: bool = False,
        redirect: bool = False,
    ) -> Link:
        """Make a link for a user to a target that exists; `password` is a hash."""
        token = new_token()
        row = {
            "id": token,
            "user_id": user_id,
            "file_id": target.file_id,
            "folder_id": target.folder_id,
            "media": _packed(target.media),
            "name": name,
            "inline": inline,
            "redirect": redirect,
            "made_at": await self._store.db.time_ms(),
            "expires_at": expires_at,
            "max_downloads": max_downloads,
            "password": password,
            "downloads": 0,
            "bytes_sent": 0,
        }
        async with self._database.write() as connection:
            await connection.execute(insert(links).values(row))
        [made] = await self.get_many([token])
        return made

    async def get(self, token: str) -> Link | None:
        """The link with this token, in whatever state; None if there is none. That of a file that was saved
        just before this call is found."""
        found = await self.get_many([token])
        if not found and is_token(token):
            await self._recorder.catch_up()
            found = await self.get_many([token])
        return found[0] if found else None

    async def get_many(self, tokens: Sequence[str]) -> list[Link]:
        """The links with these tokens that exist, in the order of `tokens`."""
        wanted = [token for token in tokens if is_token(token)]
        if not wanted:
            return []
        now = await self._store.db.time_ms()
        async with self._database.read() as connection:
            rows = await connection.execute(_SELECT.where(links.c.id.in_(wanted)))
            found = {row.id: _link(row, now) for row in rows}
        return [found[token] for token in wanted if token in found]

    async def find(self, user_id: int, target: LinkTarget, until: int | None) -> Link | None:
        """A link of a user to a target that anybody may use, as often as they like, at least until then
        (None: for ever); the newest of them."""
        columns = {"file_id": target.file_id, "folder_id": target.folder_id, "media": _packed(target.media)}
        column, value = next((name, each) for name, each in columns.items() if each is not None)
        lasting: ColumnElement[bool] = links.c.expires_at.is_(None)
        if until is not None:
            lasting = or_(lasting, links.c.expires_at >= until)
        free = links.c.max_downloads.is_(None), links.c.revoked_at.is_(None), links.c.password == ""
        query = select(links.c.id).where(links.c.user_id == user_id, links.c[column] == value, *free, lasting)
        async with self._database.read() as connection:
            token = await connection.scalar(query.order_by(links.c.made_at.desc()).limit(1))
        return await self.get(token) if token else None

    async def page(self, user_id: int | None = None, limit: int = 50, cursor: str = "") -> LinkPage:
        """At most `limit` links after `cursor`, newest first: those of a user, or all. Raises `InvalidInput`
        for an invalid cursor."""
        start = parse_cursor(cursor, int)
        where: list[ColumnElement[bool]] = [] if user_id is None else [links.c.user_id == user_id]
        async with self._database.read() as connection:
            page = await _newest_first.page(connection, where, "", start, limit)
        found = await self.get_many([token for _, token in page.keys])
        return LinkPage(found, make_cursor(page.last) if page.last else "")

    @staticmethod
    def cursor_after(link: Link) -> str:
        """The cursor of the page that begins after this link."""
        return make_cursor((link.made_at, link.token))

    async def change(self, token: str, changes: Mapping[str, Any]) -> Link | None:
        """Change columns of a link; returns the link, None if there is none."""
        async with self._database.write() as connection:
            await connection.execute(update(links).where(links.c.id == token).values(dict(changes)))
        await self._store.openings.changed()
        return await self.get(token)

    async def remove(self, token: str) -> bool:
        """Remove a link; returns whether there was one."""
        async with self._database.write() as connection:
            gone = await connection.scalar(delete(links).where(links.c.id == token).returning(links.c.id))
        await self._store.openings.changed()
        return gone is not None

    async def served_telegram(self, since: int) -> bool:
        """Whether a link to a file in Telegram was opened since then (ms)."""
        in_telegram = or_(links.c.media.is_not(None), files.c.reference != "")
        query = select(links.c.id).join(files, links.c.file_id == files.c.id, isouter=True)
        async with self._database.read() as connection:
            found = await connection.scalar(query.where(links.c.used_at >= since, in_telegram).limit(1))
        return found is not None

    async def count_download(self, token: str) -> bool:
        """Count one more download, unless the link is used up; returns whether it was counted."""
        now = await self._store.db.time_ms()
        free = or_(links.c.max_downloads.is_(None), links.c.downloads < links.c.max_downloads)
        change = update(links).where(links.c.id == token, free).returning(links.c.file_id)
        async with self._database.write() as connection:
            counted = (
                await connection.execute(change.values(downloads=links.c.downloads + 1, used_at=now))
            ).one_or_none()
            if counted and counted.file_id:
                await connection.execute(
                    update(files).where(files.c.id == counted.file_id).values(downloads=files.c.downloads + 1)
                )
        return counted is not None

    async def count_bytes(self, sent: Mapping[str, int]) -> None:
        """Add the numbers of bytes that were sent for links, by token."""
        async with self._database.write() as connection:
            for token, number in sorted(
                sent.items()
            ):  # one order, so that writers do not lock each other out
                change = update(links).where(links.c.id == token).returning(links.c.file_id)
                file_id = await connection.scalar(change.values(bytes_sent=links.c.bytes_sent + number))
                if file_id:
                    total = files.c.bytes_sent + number
                    await connection.execute(
                        update(files).where(files.c.id == file_id).values(bytes_sent=total)
                    )

    async def file_of(self, file_id: str) -> LinkedFile | None:
        """A file that is not in the trash."""
        async with self._database.read() as connection:
            found = await connection.execute(
                select(*_FILE_COLUMNS).where(files.c.id == file_id, files.c.deleted_at.is_(None))
            )
            row = found.one_or_none()
        return _file(row) if row else None

    async def file_in(self, folder_id: int, file_id: str) -> LinkedFile | None:
        """A file in a folder or in a folder below it; None if it is not there, or in the trash."""
        query = select(files.c.folder_id.label("in_folder"), *_FILE_COLUMNS)
        async with self._database.read() as connection:
            found = await connection.execute(query.where(files.c.id == file_id, files.c.deleted_at.is_(None)))
            if (row := found.one_or_none()) is None:
                return None
            above, seen = row.in_folder, set[int]()
            while above and above != folder_id and above not in seen:
                seen.add(above)
                parent = select(folders.c.parent_id).where(folders.c.id == above)
                above = await connection.scalar(parent)
        return _file(row) if above == folder_id else None

    async def files_in(self, folder_id: int) -> FolderFiles:
        """The files in a folder and in all folders below it, with their paths from there, sorted. Files of
        the same name get different paths, and every part of a path is a safe name. At most `MAX_FILES`."""
        inside = subtree(folder_id)
        async with self._database.read() as connection:
            query = select(folders.c.id, folders.c.parent_id, folders.c.name)
            known = {row.id: row for row in await connection.execute(query.where(folders.c.id.in_(inside)))}
            query = select(files.c.folder_id.label("in_folder"), *_FILE_COLUMNS)
            where = files.c.folder_id.in_(inside), files.c.deleted_at.is_(None)
            rows = await connection.execute(query.where(*where).order_by(files.c.id).limit(MAX_FILES + 1))
            found = [(row.in_folder, _file(row)) for row in rows]
        # In a thread: the names of ten thousand files take a while.
        named = await asyncio.to_thread(_named, folder_id, known, found[:MAX_FILES])
        return FolderFiles(named, is_complete=len(found) <= MAX_FILES)

    async def folder_name(self, folder_id: int, user_id: int | None) -> str | None:
        """The name of a folder of a user (None: of any); None if there is no such folder."""
        query = select(folders.c.name).where(folders.c.id == folder_id)
        if user_id is not None:
            query = query.where(folders.c.user_id == user_id)
        async with self._database.read() as connection:
            name: str | None = await connection.scalar(query)
        return name


def _packed(media: TelegramMedia | None) -> bytes | None:
    return msgspec.msgpack.encode(media) if media else None


def _named(
    top: int, known: Mapping[int, Any], found: Sequence[tuple[int, LinkedFile]]
) -> list[tuple[str, LinkedFile]]:
    """Files with their paths from the folder `top` on; each has the id of its folder."""
    paths = {folder: _path_from(top, folder, known) for folder in {folder for folder, _ in found}}
    taken: dict[str, int] = {}
    return sorted(
        (_free_path(f"{paths[folder]}{safe_name(file.name)}", taken), file) for folder, file in found
    )


def _path_from(top: int, folder: int, known: Mapping[int, Any]) -> str:
    """The path of a folder within another one, with a trailing slash; "" for that one itself."""
    names: list[str] = []
    while folder != top and folder in known and len(names) < len(known):
        names.append(f"{safe_name(known[folder].name)}/")
        folder = known[folder].parent_id
    return "".join(reversed(names))


def _free_path(path: str, taken: dict[str, int]) -> str:
    """The path, or one that is not taken, such as `a (2).txt`. `taken` has the last number of each path, so
    that thousands of files of one name take no time."""
    stem, dot, suffix = path.rpartition(".")
    if not dot or "/" in suffix:
        stem, dot, suffix = path, "", ""
    key, free = path.casefold(), path
    number = taken.get(key, 1)
    while free.casefold() in taken:
        number += 1
        free = f"{stem} ({number}){dot}{suffix}"
    taken[key] = number
    taken.setdefault(free.casefold(), 1)
    return free


_FILE_NAMES: Final = LinkedFile.__struct_fields__
_FILE_COLUMNS: Final = [files.c[name].label(f"f_{name}") for name in _FILE_NAMES]
_SELECT: Final = select(links, files.c.deleted_at.label("f_deleted_at"), *_FILE_COLUMNS).join(
    files, links.c.file_id == files.c.id, isouter=True
)
#: Columns that a `Link` has under the same name.
_SAME: Final = (
    *(
        "user_id",
        "name",
        "made_at",
        "folder_id",
        "inline",
        "redirect",
        "expires_at",
        "revoked_at",
        "max_downloads",
    ),
    *("password", "downloads", "bytes_sent", "used_at"),
)


def _file(row: Any) -> LinkedFile:
    columns = {name: getattr(row, f"f_{name}") for name in _FILE_NAMES}
    if columns["origin"] is not None:
        columns["origin"] = msgspec.msgpack.decode(columns["origin"])
    columns["reference"] = msgspec.json.decode(columns["reference"]) if columns["reference"] else None
    return LinkedFile(**columns)


def _link(row: Row[Any], now: int) -> Link:
    return Link(
        token=row.id,
        state=_state(row, now),
        file=_file(row) if row.file_id else None,
        media=msgspec.msgpack.decode(row.media, type=TelegramMedia) if row.media else None,
        **{name: getattr(row, name) for name in _SAME},
    )


def _state(row: Row[Any], now: int) -> State:
    if row.revoked_at is not None:
        return State.REVOKED
    if row.f_deleted_at is not None:
        return State.GONE
    if row.expires_at is not None and row.expires_at <= now:
        return State.EXPIRED
    if row.max_downloads is not None and row.downloads >= row.max_downloads:
        return State.USED_UP
    return State.ACTIVE
