"""Drives behind an OpenList or AList server, through its v3 API (OpenList, or AList 3.42 and newer).

Replies have the HTTP status 200; their field `code` contains the result. The server receives a file first
and then stores it in a drive, in a task of its own: the file exists only when that task has succeeded. Many
drives need the size of a file in advance (`needs_size`). The server checks whether a name is free before it
renames, not in one step (no `exclusive`). Not every drive replaces a file in a rename, so the old file is
renamed first. Source: server/handles and internal/op of OpenList 4.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from typing import Any, Final

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from saveany.ranges import range_header
from storages.alist.api import MAX_POLL_SECONDS, AlistApi
from storages.alist.options import AlistOptions
from storages.base import Capabilities, Entry, Services
from storages.chunks import Chunks
from storages.errors import folder_needed, name_taken
from storages.http_client import HttpClient
from storages.names import Encoder
from storages.parts import RESERVED
from storages.polling import FIRST_POLL_SECONDS
from storages.remote import RemoteStorage

#: Seconds in which a drive must list a file that it has received.
_SETTLE: Final = 20.0


class AlistStorage(RemoteStorage):
    """A folder on an OpenList or AList server."""

    capabilities = Capabilities(
        needs_size=True, late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True
    )

    uploads_at_once = 4

    def __init__(self, options: AlistOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._http = HttpClient(options.name, own_url=options.url, allow=(services or Services()).allow)
        self._api = AlistApi(options, self._http)
        self._base = "/" + options.base_path.strip("/")

    async def reach(self) -> None:
        """As in the contract."""
        await self._http.reach(self._api.url("/"))

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def _full(self, path: str) -> str:
        """The full path on the server."""
        below = "/".join(map(NAMES.encode, path.split("/")))
        return f"{self._base.rstrip('/')}/{below}" if path else self._base

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        task = await self._api.put(self._full(path), chunks, size or 0)
        if task:
            await self._api.wait("upload", task)
        await self._wait_until_listed(path)

    async def _wait_until_listed(self, path: str) -> None:
        """Wait until the server lists a new file. Some drives list it late, and the server caches listings
        for minutes, so each check asks it to refresh them."""
        pause, until = FIRST_POLL_SECONDS, time.monotonic() + _SETTLE
        while await self._stat(path) is None:
            if time.monotonic() > until:
                raise StorageUnavailable(
                    "storage {storage!r}: the server has lost {path!r}", storage=self.name, path=path
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_POLL_SECONDS)
            folder, _ = self._folder_and_name(path)
            await self._api.call(
                "fs/list", {"path": folder, "password": "", "page": 1, "per_page": 1, "refresh": True}
            )

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if await self._stat(path) is None:
            raise FileNotFoundError(path)
        entry = await self._stat(to)
        if entry and (entry.is_dir or not replace):
            raise name_taken(self.name, to)
        if entry:
            await self._swap(path, to)
            return
        (folder, name), (target, final) = self._folder_and_name(path), self._folder_and_name(to)
        with self._taken(to):
            if name != final:
                await self._api.call("fs/rename", {"path": f"{folder}/{name}", "name": final})
            if folder != target:
                await self._move(folder, target, final, name)

    async def _move(self, folder: str, target: str, name: str, before: str) -> None:
        """Move a file to another folder. In the old one it already has its new name; an error restores the
        name it had `before`."""
        try:
            await self._api.transfer("move", folder, target, name)
        except BaseException:
            if name != before:
                with suppress(StorageError):
                    await self._api.call("fs/rename", {"path": f"{folder}/{name}", "name": before})
            raise

    async def _remove(self, path: str) -> None:
        folder, name = self._folder_and_name(path)
        with suppress(FileNotFoundError):
            await self._api.call("fs/remove", {"dir": folder or "/", "names": [name]})

    async def _make_folder(self, path: str) -> None:
        try:
            await self._api.call("fs/mkdir", {"path": self._full(path)})
        except (NameTaken, NotADirectoryError):
            raise folder_needed(self.name, path) from None

    async def _scan(self, path: str) -> list[Entry]:
        request = {"path": self._full(path), "password": "", "page": 1, "per_page": 0, "refresh": False}
        try:
            listing = await self._api.call("fs/list", request)
        except NotADirectoryError:
            raise StorageError(
                "storage {storage!r}: {path!r} is a file", storage=self.name, path=path
            ) from None
        found = []
        for each in listing.get("content") or []:
            with suppress(KeyError, TypeError, ValueError, AttributeError):  # skips malformed entries
                name = NAMES.decode(each["name"])
                if "/" not in name:
                    found.append(_entry(f"{path}/{name}" if path else name, each))
        return found

    async def _stat(self, path: str) -> Entry | None:
        found = await self._get(path)
        try:
            return None if found is None else _entry(path, found)
        except (KeyError, TypeError, ValueError):
            raise StorageError(
                "storage {storage!r}: the server reports impossible values for {path!r}",
                storage=self.name,
                path=path,
            ) from None

    async def _get(self, path: str) -> dict[str, Any] | None:
        """Details of a file that SaveAny has saved, or of a file of another program, whose name is not
        encoded."""
        theirs = f"{self._base.rstrip('/')}/{path}".rstrip("/") or "/"
        for full in dict.fromkeys([self._full(path), theirs.replace("\\", "%5C")]):
            with suppress(FileNotFoundError, NotADirectoryError):
                return await self._api.call("fs/get", {"path": full, "password": ""})
        return None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        path = file.path
        found = await self._get(path)
        if found is None:
            raise FileNotFoundError(path)
        if not found.get("raw_url"):
            raise StorageError(
                "storage {storage!r}: the server has no link to {path!r}", storage=self.name, path=path
            )
        if start >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - start < file.size:
            headers["Range"] = range_header(start, end)
        # The URL may name any host, so it is requested without the token.
        async with self._http.request(
            "GET", self._api.url(found["raw_url"]), headers=headers, follow=True
        ) as response:
            if not response.is_success:
                raise StorageUnavailable(
                    "storage {storage!r}: the address that the server gives for {path!r} replied {status}",
                    storage=self.name,
                    path=path,
                    status=response.status_code,
                )
            async with aclosing(self._http.file(response, start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # Optional calls.

    async def _copy(self, path: str, to: str) -> None:
        """Copy through a temporary folder: the server gives a copy the name of the original."""
        hidden = "/".join([*to.split("/")[:-1], f"{RESERVED}copy-{secrets.token_hex(8)}"])
        await self._make_folder(hidden)
        try:
            folder, name = self._folder_and_name(path)
            await self._api.transfer("copy", folder, self._full(hidden), name)
            await self._rename(f"{hidden}/{NAMES.decode(name)}", to, replace=False)
        finally:
            await self._remove(hidden)

    def _folder_and_name(self, path: str) -> tuple[str, str]:
        """The folder and the name of a path, on the server."""
        folder, _, name = self._full(path).rpartition("/")
        return folder, name

    @contextmanager
    def _taken(self, path: str) -> Iterator[None]:
        try:
            yield
        except NameTaken:
            raise name_taken(self.name, path) from None


#: The server treats a backslash as a slash.
NAMES: Final = Encoder("\\")


def _entry(path: str, found: Mapping[str, Any]) -> Entry:
    size = 0 if found["is_dir"] else int(found["size"])
    return Entry(path.rpartition("/")[2], path, size, bool(found["is_dir"]), _milliseconds(found["modified"]))


def _milliseconds(time: str) -> int:
    try:
        return max(0, int(datetime.fromisoformat(time).timestamp() * 1000))
    except (ValueError, OverflowError):
        return 0
