"""Video hosts with openload's API: Streamtape, pstream and their relatives. Not tested with the live
services.

Every call is a GET request with login and key in its query. Its reply is `{status, msg, result}`, mostly with
the HTTP status 200 whatever `status` is. Files and folders have ids: a path is resolved folder by folder, and
the ids of folders are cached. Several files may have the same name: the newest is listed, and a replaced file
is removed after the new one has its name. A rename refers to the file by id, so `finished` cannot stop a
sealed upload whose commit has already read the id of its part.

Documentation: https://streamtape.com/api and https://pstream.net/api-documentation.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from saveany.errors import StorageError, StorageUnavailable
from storages.base import Capabilities, Entry, Receipt, Services
from storages.chunks import Chunk, Chunks
from storages.errors import folder_needed, name_taken
from storages.http_client import HttpClient
from storages.openload.api import (
    FolderListing,
    OpenloadApi,
    OpenloadFile,
    parse_listing,
    without_empty,
)
from storages.openload.limit import UploadLimit
from storages.openload.names import NAMES
from storages.openload.options import OpenloadOptions
from storages.parts import RESERVED, split
from storages.polling import FIRST_POLL_SECONDS
from storages.remote import RemoteStorage

#: Bytes of a file that never waits for other uploads, such as the test file.
_SHORT: Final = 1 << 10
#: Checks for the file of an upload that was aborted at its end.
_LATE_CHECKS: Final = 5


class OpenloadStorage(RemoteStorage):
    """A folder of an account. Videos are watched on the service; files cannot be read (no `reads`).

    `url` returns the page of a file, which does not expire. Streamtape accepts files up to 15 GB.
    """

    capabilities = Capabilities(
        needs_size=True, late_name=True, lists=True, folders=True, moves=True, links=True
    )

    def __init__(self, options: OpenloadOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._http = HttpClient(options.name, own_url=options.address, allow=(services or Services()).allow)
        self._address = options.address
        self._api = OpenloadApi(options, self._http)
        self._base = "/" + options.base_path.strip("/")
        self._pulls = options.pull
        self._ids = {"": ""}  # ids of folders, by path on the service; that of the root is empty
        self._limit = UploadLimit(self._limit_uploads)
        self._folder_lock = asyncio.Lock()  # concurrent uploads would make a folder twice

    def _limit_uploads(self, uploads: int) -> None:
        self.uploads_at_once = uploads

    async def reach(self) -> None:
        """As in the contract."""
        await self._http.reach(self._address)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # Paths and ids. A full path starts at the root of the service.

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    async def _id(self, full: str) -> str:
        """The id of a folder. Raises `FileNotFoundError`."""
        if full not in self._ids:
            above, _, name = full.rpartition("/")
            folders = (await self._listing(above)).folders
            if name not in folders:
                raise FileNotFoundError(full)
            self._ids[full] = folders[name]
        return self._ids[full]

    async def _listing(self, full: str) -> FolderListing:
        """The contents of a folder. Raises `FileNotFoundError`."""
        remembered = full in self._ids
        folder = await self._id(full)
        try:
            reply = await self._api.call("file/listfolder", **without_empty(folder=folder))
            with self._api.parsing():
                return parse_listing(reply)
        except FileNotFoundError:
            if not full:
                raise self._api.malformed() from None
            if not remembered:
                raise
        self._ids = {"": ""}  # the folder was removed, and perhaps made again
        return await self._listing(full)

    async def _files(self, path: str) -> tuple[FolderListing, list[OpenloadFile]]:
        """The contents of the folder of a path, and the files with its name, newest first."""
        folder, _, name = self._full(path).rpartition("/")
        listing = await self._listing(folder)
        return listing, listing.named(name)

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        async with self._limit.upload(wait=(size or 0) > _SHORT):
            await self._send(path, chunks, size or 0)

    async def _send(self, path: str, chunks: Chunks, size: int) -> None:
        full, _, name = self._full(path).rpartition("/")
        with _folder_expected(self.name, path):
            reply = await self._api.call("file/ul", folder=await self._id(full))
        with self._api.parsing():
            address = str(reply["url"])
        complete = False

        async def noting_the_end() -> AsyncGenerator[Chunk, None]:
            nonlocal complete
            async for chunk in chunks:
                yield chunk
            complete = True

        try:
            sent = await self._api.upload(address, NAMES.encode(name), noting_the_end(), size)
            await self._check(sent, path, NAMES.encode(name), size)
        except BaseException as error:
            if complete:
                await asyncio.shield(self._remove_late(path))
            if isinstance(error, FileNotFoundError):
                raise StorageUnavailable(
                    "storage {storage!r}: the service has lost {path!r}", storage=self.name, path=path
                ) from error
            raise

    async def _remove_late(self, path: str) -> None:
        """Remove the file of an upload that was complete when it was aborted: the service lists it late."""
        pause = FIRST_POLL_SECONDS
        for _ in range(_LATE_CHECKS):
            with suppress(StorageError, FileNotFoundError):
                _, files = await self._files(path)
                await self._remove_all(files)
                if files:
                    return
            await asyncio.sleep(pause)
            pause *= 2

    async def _check(self, sent: Any, path: str, name: str, size: int) -> None:
        """Wait until the service lists the new file, and check its size and name."""
        with self._api.parsing():
            file = str(sent["id"])
        info = await self._api.details_of_new(file, path)
        with self._api.parsing():
            named, arrived = str(info["name"]), int(info["size"])
        if arrived != size:
            raise StorageError(
                "storage {storage!r}: {path!r} must have {size} bytes, but {arrived} arrived",
                storage=self.name,
                path=path,
                size=size,
                arrived=arrived,
            )
        if named != name:  # some services drop the extension
            await self._api.call("file/rename", file=file, name=name)

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        (folder, _, name), (target_folder, _, final) = (
            self._full(path).rpartition("/"),
            self._full(to).rpartition("/"),
        )
        listing, files = await self._files(path)
        target = listing if folder == target_folder else await self._listing(target_folder)
        if not files:
            raise FileNotFoundError(path)
        taken = target.named(final)
        if final in target.folders or (taken and not replace):
            raise name_taken(self.name, to)
        file = files[0]
        if name != final:
            await self._api.call("file/rename", file=file.id, name=NAMES.encode(final))
        if folder != target_folder:
            await self._move(file, target_folder, name)
        await self._remove_all([each for each in taken if each.id != file.id])

    async def _move(self, file: OpenloadFile, folder: str, before: str) -> None:
        """Move a file to another folder. In the old one it already has its new name; an error restores the
        name it had `before`."""
        try:
            await self._api.call("file/move", file=file.id, folder=await self._id(folder))
        except BaseException:
            with suppress(StorageError, FileNotFoundError):
                await self._api.call("file/rename", file=file.id, name=NAMES.encode(before))
            raise

    async def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            _, files = await self._files(path)
            await self._remove_all(files)

    async def _remove_all(self, files: Sequence[OpenloadFile]) -> None:
        for file in files:
            with suppress(FileNotFoundError):
                await self._api.call("file/delete", file=file.id)

    async def _make_folder(self, path: str) -> None:
        async with self._folder_lock:
            await self._make_and_list(self._full(path), path)

    async def _make_and_list(self, full: str, path: str) -> FolderListing:
        """The contents of a folder, which is made if it is missing."""
        with suppress(FileNotFoundError):
            return await self._listing(full)
        above, _, name = full.rpartition("/")
        if (await self._make_and_list(above, path)).named(name):
            raise folder_needed(self.name, path)
        parent = await self._id(above)
        reply = await self._api.call(
            "file/createfolder", name=NAMES.encode(name), **without_empty(pid=parent)
        )
        with self._api.parsing():
            self._ids[full] = str(reply["folderid"])
        return FolderListing({}, [])

    async def _scan(self, path: str) -> list[Entry]:
        try:
            listing = await self._listing(self._full(path))
        except FileNotFoundError:
            if path and await self._stat(path):
                raise StorageError(
                    "storage {storage!r}: {path!r} is a file", storage=self.name, path=path
                ) from None
            raise
        names = {*listing.folders, *(file.name for file in listing.files)}
        found = [listing.entry(f"{path}/{name}" if path else name) for name in names]
        return [entry for entry in found if entry]

    async def _stat(self, path: str) -> Entry | None:
        try:
            listing, _ = await self._files(path)
        except FileNotFoundError:
            return None
        return listing.entry(path)

    # Optional calls.

    async def url(self, path: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
        """As in the contract: the page of the file, which does not expire."""
        split(path)
        if page := await self._page(path):
            return page
        raise StorageError(
            "storage {storage!r}: there is no file {path!r}, or no link to it", storage=self.name, path=path
        )

    async def _receipt(self, path: str, size: int) -> Receipt:
        page = ""
        with suppress(StorageError):
            page = await self._page(path)
        return Receipt(path, size, page=page)

    async def _page(self, path: str) -> str:
        """The service's page of a file, "" if there is none."""
        try:
            _, files = await self._files(path)
        except FileNotFoundError:
            return ""
        return files[0].link if files else ""

    @property
    def pulls(self) -> bool:
        """As in the contract."""
        return self._pulls

    async def _pull(self, url: str, path: str) -> None:
        folder = path.rpartition("/")[0]
        # The service chooses the name, so the file is fetched to a temporary folder.
        hidden = "/".join(filter(None, [folder, f"{RESERVED}pull-{secrets.token_hex(8)}"]))
        await self._make_folder(hidden)
        folder_id = await self._id(self._full(hidden))
        try:
            with _folder_expected(self.name, path):
                await self._api.fetch(url, folder_id)
                fetched = (await self._listing(self._full(hidden))).files
                if not fetched:
                    raise StorageUnavailable(
                        "storage {storage!r}: the service has lost {path!r}", storage=self.name, path=path
                    )
                await self._rename(f"{hidden}/{fetched[0].name}", path, replace=False)
        finally:
            self._ids.pop(self._full(hidden), None)
            with suppress(StorageError, FileNotFoundError):
                await self._api.call("file/deletefolder", folder=folder_id)


@contextmanager
def _folder_expected(storage: str, path: str) -> Iterator[None]:
    """Raise `StorageUnavailable` if the folder of `path` has been removed meanwhile."""
    try:
        yield
    except FileNotFoundError:
        raise StorageUnavailable(
            "storage {storage!r}: the folder of {path!r} is gone", storage=storage, path=path
        ) from None
