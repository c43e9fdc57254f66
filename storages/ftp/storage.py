"""FTP servers, with or without TLS.

Each transfer has a connection of its own; idle connections are reused. An upload continues where it stopped
(`REST` before `STOR`). Renaming to a taken name is not refused by every server, so the name is checked first.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

import aioftp

from saveany.errors import StorageBusy, StorageError, StorageUnavailable
from storages.base import Capabilities, Entry, Services
from storages.chunks import Chunks
from storages.errors import name_taken, not_a_folder
from storages.ftp.client import PIECE, SILENCE, FtpClient, cut
from storages.ftp.connections import FtpConnections
from storages.ftp.options import FtpOptions
from storages.ftp.replies import (
    entry_from,
    modification_time,
    must_exist,
    parse_facts,
    parse_list_line,
)
from storages.listing import MAX_ENTRIES, endless_listing
from storages.names import Encoder
from storages.remote import RemoteStorage

#: Maximum number of files that are uploaded at the same time, if the server allows as many.
_MAX_UPLOADS = 4
#: Bytes of a file that is uploaded as fast as any other request.
_SHORT = 1 << 10
_ABORT_SECONDS = 2  # seconds in which a server must confirm what it has received of an aborted upload
_CONTROLS: Final = "".join(map(chr, range(1, 32))) + "\x7f"
#: Commands end with a line break, servers trim spaces around a name, and `\` separates folders on Windows.
#: Pure-FTPd refuses it and lists other characters for control characters; ProFTPD makes no folder with `*`.
NAMES = Encoder(_CONTROLS + "\\*", edges=" ")
#: The encoding of names that other programs have given: only what a command cannot contain.
_THEIRS: Final = Encoder("\r\n\\", edges=" \t\v\f")
#: The reply of ProFTPD with its default settings: "Append/Restart not permitted, try again".
_NO_RESTART: Final = "451"
_NO_COMMAND = ("500", "501", "502", "504")


class FtpStorage(RemoteStorage):
    """A folder of an FTP server."""

    capabilities = Capabilities(
        resumes=True, late_name=True, lists=True, reads=True, folders=True, moves=True
    )

    def __init__(self, options: FtpOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._options = options
        self._connections = FtpConnections(options, self._limit_uploads)
        self._activity = self._connections.activity
        self._has_mlst = True  # whether the server supports MLST and MLSD; assumed until it refuses them

    def _limit_uploads(self, transfers: int) -> None:
        self.uploads_at_once = min(_MAX_UPLOADS, transfers)

    def _full(self, client: FtpClient, path: str, names: Encoder = NAMES) -> str:
        spelled = "/".join(map(names.encode, path.split("/"))) if path else ""
        return posixpath.join(client.home, self._options.base_path, spelled).rstrip("/") or "/"

    async def _existing_path(self, client: FtpClient, path: str) -> str:
        """The full path on the server. Files of other programs may have names that SaveAny would encode."""
        ours, theirs = self._full(client, path), self._full(client, path, _THEIRS)
        if ours == theirs or await self._entry(client, path, ours):
            return ours
        return theirs if await self._entry(client, path, theirs) else ours

    async def reach(self) -> None:
        """As in the contract."""
        await self._connections.reach()

    async def close(self) -> None:
        """Close the idle connections."""
        await self._connections.close()

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        is_short = size is not None and size <= _SHORT  # such as the test file, which nothing may hold up
        connection = self._connections.connection if is_short else self._connections.transfer
        async with connection(path) as client:
            stream = await self._open_upload(client, path, offset)
            try:
                async for chunk in chunks:
                    await stream.write(bytes(chunk))
                    self._activity.note()
            except BaseException:
                # Let the server keep what it has received: a later attempt may continue with it.
                with suppress(aioftp.AIOFTPException, OSError, TimeoutError):
                    await asyncio.wait_for(client.end(stream), _ABORT_SECONDS)
                raise
            await client.confirm(stream)

    async def _open_upload(
        self, client: FtpClient, path: str, offset: int
    ) -> aioftp.DataConnectionThrottleStreamIO:
        full = self._full(client, path)
        try:
            return await client.data(f"STOR {full}", offset)
        except aioftp.StatusCodeError as error:
            code = error.received_codes[-1]
            if not (offset and (code.matches("5xx") or code == _NO_RESTART)):
                raise
            await client.command(f"DELE {full}", "2xx")  # so that the next attempt starts from the beginning
            raise StorageUnavailable(
                "storage {storage!r}: {path!r}: the server cannot resume an interrupted upload",
                storage=self.name,
                path=path,
            ) from error

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        taken = await self._stat(to)
        if taken and (taken.is_dir or not replace):
            if await self._stat(path) is None:
                raise FileNotFoundError(path)
            raise name_taken(self.name, to)
        try:
            renamed = await self._renamed(path, to, taken=taken is not None)
        except FileNotFoundError:
            if await self._stat(path):
                raise StorageError(
                    "storage {storage!r}: {path!r}: the server refuses to rename it",
                    storage=self.name,
                    path=path,
                ) from None
            raise
        if not renamed:
            await self._swap(path, to)

    async def _renamed(self, path: str, to: str, *, taken: bool) -> bool:
        """Rename; False if the server refuses because the name is taken, as servers on Windows do."""
        async with self._connections.connection(path) as client:
            await must_exist(path, client.command(f"RNFR {await self._existing_path(client, path)}", "350"))
            expected = ("2xx", "5xx") if taken else "2xx"
            code, _ = await client.command(f"RNTO {self._full(client, to)}", expected)
            return code.matches("2xx")

    async def _remove(self, path: str) -> None:
        async with self._connections.connection(path) as client:
            with suppress(FileNotFoundError):
                await must_exist(
                    path, client.command(f"DELE {await self._existing_path(client, path)}", "2xx")
                )
                return
        if await self._stat(path):
            raise StorageError(
                "storage {storage!r}: {path!r}: the server refuses to delete it",
                storage=self.name,
                path=path,
            )

    async def _make_folder(self, path: str) -> None:
        async with self._connections.connection(path) as client:
            if await self._is_folder(client, self._full(client, path)):
                return
            done = ""
            for name in self._full(client, path).split("/")[1:]:
                done += f"/{name}"
                with suppress(aioftp.StatusCodeError):  # it exists; other errors show in the next check
                    await client.command(f"MKD {done}", "257")
            if not await self._is_folder(client, done):
                raise StorageError(
                    "storage {storage!r}: {path!r}: the server cannot make this folder; is there a file "
                    "with its name, or is the user not allowed to make it?",
                    storage=self.name,
                    path=path,
                )

    async def _is_folder(self, client: FtpClient, full: str) -> bool:
        try:
            await client.command(f"CWD {full}", "2xx")
        except aioftp.StatusCodeError as error:
            if error.received_codes[-1].matches("5xx"):
                return False
            raise
        return True

    async def _scan(self, path: str) -> list[Entry]:
        async with self._connections.connection(path) as client:
            full = await self._existing_path(client, path)
            if not await self._is_folder(client, full):
                if path and await self._entry(client, path, full):
                    raise not_a_folder(self.name, path)
                raise FileNotFoundError(path)
            lines = await self._lines(client, full)
        folder = f"{path}/" if path else ""
        named = ((NAMES.decode(name), facts) for name, facts in lines if name not in (".", ".."))
        entries = (entry_from(f"{folder}{name}", facts) for name, facts in named)
        return [entry for entry in entries if entry]

    async def _lines(self, client: FtpClient, full: str) -> list[tuple[str, dict[str, Any]]]:
        """The names and facts in the current folder."""
        if self._has_mlst:
            try:
                return [parse_facts(line) for line in await self._listing(client, f"MLSD {full}")]
            except aioftp.StatusCodeError as error:
                if error.received_codes[-1] not in _NO_COMMAND:
                    raise
                self._has_mlst = False
        # Without a path, because it may contain spaces. `-a`: some servers hide names that begin with a dot.
        lines = await self._listing(client, "LIST -a")
        return [parse_list_line(client, line) for line in lines if not line.startswith("total ")]

    async def _listing(self, client: FtpClient, command: str) -> list[str]:
        stream = await client.data(command)
        lines = []
        try:
            while line := await stream.readline():
                lines.append(line.decode(self._options.encoding, "replace").rstrip("\r\n"))
                if len(lines) > MAX_ENTRIES:
                    raise endless_listing(self.name, command)
            await client.end(stream)
        except BaseException:
            cut(stream)
            raise
        return lines

    async def _durable(self, path: str) -> int:
        """As in the contract; 0 if no connection is free, because an upload that waited for one here could
        keep all others."""
        try:
            async with self._connections.connection(path, wait=False) as client:
                entry = await self._entry(client, path, await self._existing_path(client, path))
        except StorageBusy:
            return 0
        return entry.size if entry else 0

    async def _stat(self, path: str) -> Entry | None:
        async with self._connections.connection(path) as client:
            return await self._entry(client, path, await self._existing_path(client, path))

    async def _entry(self, client: FtpClient, path: str, full: str) -> Entry | None:
        if self._has_mlst:
            try:
                _, lines = await client.command(f"MLST {full}", "2xx")
                _, facts = parse_facts(lines[min(1, len(lines) - 1)].lstrip(" "))
                if "size" in facts or facts.get("type", "").lower() != "file":
                    return entry_from(path, facts)
            except aioftp.StatusCodeError as error:
                if _means_missing(error):
                    return None
                self._has_mlst = False
        return await self._old_entry(client, path, full)

    async def _old_entry(self, client: FtpClient, path: str, full: str) -> Entry | None:
        """An entry without MLST. Requests the size first, because listing a big folder takes long."""
        if await self._is_folder(client, full):
            return entry_from(path, {"type": "dir"})
        try:
            await client.command("TYPE I", "200")  # SIZE is defined for binary transfers only
            _, reply = await client.command(f"SIZE {full}", "213")
            return entry_from(
                path, {"type": "file", "size": reply[-1], "modify": await modification_time(client, full)}
            )
        except aioftp.StatusCodeError as error:
            if _means_missing(error):
                return None
        folder, _, name = full.rpartition("/")
        if not await self._is_folder(client, folder or "/"):
            return None
        found = dict(await self._lines(client, folder or "/"))
        return entry_from(path, found[name]) if name in found else None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        async with self._connections.connection(file.path) as client:
            full = await self._existing_path(client, file.path)
            stream = await client.data(f"RETR {full}", start)
            try:
                while start < end:
                    async with asyncio.timeout(SILENCE):  # the library makes a task for each piece
                        piece = await stream.reader.read(min(PIECE, end - start))
                    if not piece:
                        raise StorageUnavailable(
                            "storage {storage!r}: {path!r} ended at byte {start} of {end}",
                            storage=self.name,
                            path=file.path,
                            start=start,
                            end=end,
                        )
                    start += len(piece)
                    self._activity.note()
                    yield piece
                if end < file.size:  # many servers react to ABOR only after they have sent everything
                    cut(stream)
                    client.hang_up()
                else:
                    await client.end(stream)
            except BaseException:
                cut(stream)
                raise


def _means_missing(error: aioftp.StatusCodeError) -> bool:
    """Whether a refusal means that there is no such entry; otherwise the server lacks the command. Raises
    `error` if it means neither."""
    if error.received_codes[-1] in _NO_COMMAND:
        return False
    if error.received_codes[-1].matches("5xx"):
        return True
    raise error
