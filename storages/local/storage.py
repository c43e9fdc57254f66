"""Files in a folder of this machine.

Files on the disk:

    <base>/films/a.mkv                               a finished file
    <base>/films/.a.mkv.<task>-<item>.2.partial      the upload of that item by epoch 2
    <base>/films/.a.mkv.<task>-<item>.1.old.partial  the part of epoch 1, fenced by epoch 2
    <base>/.saveany-storage                          the marker that identifies the disk
    <base>/.saveany-…                                other reserved names

Nothing outside the base is ever touched: `storages/local/jail.py`.

Fencing. A commit refers to the part by name: it renames it to the final name, or links it where every rename
replaces.
`finished`, and `begin` of a later epoch, first rename every part they find. From then on the commit of the
earlier writer finds no part and fails, whenever it wakes up. `finished` detects a link that was made before,
because part and final file are then one inode. The new part is made before old ones are removed: an
unfinished upload always has a part, so that a foreign file of the same size is not taken for its result. The
folder is read once more after the new part is made: of two claims that begin at the same time, the later
finds the part of the earlier, or the earlier finds out that it is fenced.

Late writes. A fenced writer still has its descriptor, so `begin` normally makes a new inode: late bytes go to
a file that is never published. A resumed upload keeps the inode. That is safe because the caller passes
`keep` only for the same source: a fenced writer can only write the right bytes to their place, and it never
truncates a file of the planned size. Bytes outside `keep` count as missing until they are written again. An
earlier writer of the same epoch has a part of the same name, which is taken over only after it was closed; an
epoch belongs to one process, which opens a storage once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar
from weakref import WeakValueDictionary

from saveany.errors import Fenced, StorageError
from storages.base import (
    Capabilities,
    Entry,
    Range,
    Reader,
    Receipt,
    Services,
    Storage,
    Upload,
    UploadKey,
    Usage,
)
from storages.errors import name_taken
from storages.listings import SharedListings
from storages.local.commits import Commits
from storages.local.files import (
    entry_of,
    fence,
    listed,
    parts_in,
    require_file,
    same_file,
    sibling_name,
    version,
)
from storages.local.jail import (
    Disk,
    FolderHandle,
    is_file,
    read_all,
    write_all,
)
from storages.local.options import LocalOptions
from storages.local.reader import LocalReader
from storages.local.upload import LocalUpload, ResumablePart
from storages.parts import RESERVED, PartName, is_reserved, split, upload_name

T = TypeVar("T")


class LocalStorage(Storage):
    """A folder of this machine. The modes of new files and folders follow the umask."""

    capabilities = Capabilities(
        random_writes=True,
        reads_back=True,
        resumes=True,
        late_name=True,
        exclusive=True,
        fences=True,
        lists=True,
        reads=True,
        folders=True,
        moves=True,
        copies=True,
        usage=True,
        this_machine_only=True,
    )
    uploads_at_once = 64

    def __init__(self, options: LocalOptions, services: Services | None = None) -> None:
        self.name = options.name
        self.disk = Disk(options.name, options.base_path.expanduser().absolute())
        self._commits = Commits(self.disk)
        self._listings = SharedListings(self._list_parts)
        self._uploads: WeakValueDictionary[UploadKey, LocalUpload] = WeakValueDictionary()

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract. Reserves a known size on the disk and raises `NoSpace` before the first byte.

        Keeps nothing if the size is unknown.
        """
        before = self._uploads.get(key)
        upload = self._uploads[key] = LocalUpload(self.disk, self._commits, key, path)
        resumable = ResumablePart(size, tuple(keep), may_be_own=before is None or before.over)
        try:
            await self.disk.run(path, lambda: upload.open(size, resumable))
        except BaseException as error:
            # Keep a part that was taken over for the next attempt, unless a later claim owns it.
            await (upload.__aexit__() if upload.kept and not isinstance(error, Fenced) else upload.abort())
            raise
        return upload

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """As in the contract."""
        name = sibling_name(self.disk, path, final)
        listed = await self._parts_beside(path)

        def check() -> Receipt | None:
            with suppress(FileNotFoundError), self.disk.parent(path) as (folder, _):
                leftovers = [str(part) for part in fence(folder, key, listed)]
                info = folder.stat(name)
                if info is None or not is_file(info) or info.st_size != size:
                    return None
                if leftovers and not any(same_file(info, folder.stat(part)) for part in leftovers):
                    return None
                folder.unlink(leftovers)
                folder.sync()  # the earlier worker may have died before it did this
                return Receipt(final, size, version(info))
            return None

        return await self.disk.run(final, check)

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract. Folders stay."""
        parts = (await self._parts_beside(path)).get(upload_name(key), [])
        found = [str(part) for part in parts if part.epoch <= key.epoch]

        def remove() -> None:
            with suppress(FileNotFoundError), self.disk.parent(path) as (folder, _):
                folder.unlink(found)

        if found:
            await self.disk.run(path, remove)

    async def _parts_beside(self, path: str) -> Mapping[str, list[PartName]]:
        return await self._listings.of("/".join(split(path)[:-1]))

    async def _list_parts(self, path: str) -> Mapping[str, list[PartName]]:
        def read() -> Mapping[str, list[PartName]]:
            with suppress(FileNotFoundError), self.disk.folder(split(path) if path else []) as folder:
                return parts_in(folder)
            return {}

        return await self.disk.run(path, read)

    async def probe(self) -> None:
        """As in the contract. Makes the base folder if it is missing."""

        def echo(folder: FolderHandle, name: str, sent: bytes) -> bytes:
            fd = folder.create(name, 0o600)
            try:
                write_all(fd, 0, sent)
                os.fsync(fd)
                return read_all(fd, 0, len(sent))
            finally:
                os.close(fd)
                folder.unlink([name])

        def work() -> bool:
            sent = secrets.token_bytes(64)
            with self.disk.folder([], create=True) as folder:
                return echo(folder, f"{RESERVED}probe-{secrets.token_hex(8)}", sent) == sent

        if not await self.disk.run("", work):
            raise StorageError(
                "storage {storage!r}: the disk returned other bytes than were written to it",
                storage=self.name,
            )

    async def identity(self) -> str | None:
        """As in the contract, from `.saveany-storage` in the base folder."""
        return await self.disk.run("", self.disk.identity)

    async def adopt(self, identity: str) -> None:
        """As in the contract. An id has 1 to 64 letters, digits, `-` or `_`. Makes the base folder if
        missing."""
        await self.disk.run("", lambda: self.disk.adopt(identity))

    async def stat(self, path: str) -> Entry | None:
        """As in the contract. Ignores links and devices."""

        def check() -> Entry | None:
            with suppress(FileNotFoundError), self.disk.parent(path) as (folder, name):
                info = folder.stat(name)
                return info and entry_of(path.split("/")[:-1], name, info)
            return None

        return await self.disk.run(path, check)

    async def delete(self, path: str) -> None:
        """As in the contract."""

        def remove() -> None:
            with suppress(FileNotFoundError), self.disk.parent(path) as (folder, name):
                folder.unlink([name])

        await self.disk.run(path, remove)

    async def open(self, path: str) -> Reader:
        """As in the contract. A file that is replaced or deleted while it is open can be read to its end."""
        reader = LocalReader(self.disk, path)
        try:
            await self.disk.run(path, reader.open)
        except BaseException:
            await reader.close()
            raise
        return reader

    async def mkdir(self, path: str) -> None:
        """As in the contract."""

        def make() -> None:
            with self.disk.folder(split(path) if path else [], create=True):
                return

        await self.disk.run(path, make)

    async def move(self, path: str, to: str, *, replace: bool = False) -> Receipt:
        """As in the contract. Makes the folder of `to`."""
        return await self._take(self.disk, path, to, replace=replace)

    def takes_from(self, origin: Storage) -> bool:
        """Also from other folders of this machine; that succeeds if they are on the same disk."""
        return isinstance(origin, LocalStorage)

    async def take(self, origin: Storage, path: str, to: str, *, replace: bool = False) -> Receipt:
        """As in the contract. Makes the folder of `to`."""
        assert isinstance(origin, LocalStorage)  # noqa: S101  # `takes_from` says so
        return await self._take(origin.disk, path, to, replace=replace)

    async def _take(self, disk: Disk, path: str, to: str, *, replace: bool) -> Receipt:
        def rename() -> Receipt:
            with disk.parent(path) as (folder, name):
                file = require_file(folder.stat(name))
                with self.disk.parent(to, create=True) as (target, new):
                    self._give_name(folder, name, target, new, replace=replace)
                    target.sync()
                folder.sync()
            return Receipt(to, file.st_size, version(file))

        return await self.disk.run(path, rename)

    def _give_name(
        self, folder: FolderHandle, name: str, target: FolderHandle, new: str, *, replace: bool
    ) -> None:
        taken = target.stat(new)
        if taken and (not replace or not is_file(taken)):
            raise name_taken(self.name, new)
        try:
            if replace:
                folder.rename(name, new, target)
            else:
                folder.publish(name, new, target)
                folder.unlink([name])  # it was linked, not renamed
        except FileExistsError:
            raise name_taken(self.name, new) from None

    def copies_from(self, origin: Storage) -> bool:
        """Also other folders of this machine."""
        return isinstance(origin, LocalStorage)

    async def usage(self) -> Usage:
        """As in the contract, of the whole disk, including files of other programs."""

        def check() -> Usage:
            with self.disk.folder([]) as folder:
                disk = os.fstatvfs(folder.fd)
            size = disk.f_frsize
            used = (disk.f_blocks - disk.f_bfree) * size
            return Usage(used=used, free=disk.f_bavail * size, total=disk.f_blocks * size)

        return await self.disk.run("", check)

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """As in the contract: files and folders only, without links, devices, parts and reserved names.

        Invalid UTF-8 in a name is shown as U+FFFD; such a file cannot be opened by that name.
        """
        parts = split(path) if path else []

        def check() -> Iterable[Entry]:
            try:
                with self.disk.folder(parts) as folder, os.scandir(folder.fd) as found:
                    shown = (item for item in found if not is_reserved(item.name))
                    return [entry for item in shown if item.name > after and (entry := listed(parts, item))]
            except FileNotFoundError:
                if parts:
                    raise
                return []  # the base folder is made by the first upload

        return sorted(await self.disk.run(path, check), key=lambda entry: entry.name)[:limit]

    async def close(self) -> None:
        """End the threads, without waiting for a call that hangs on a broken disk."""
        self.disk.close()
