"""The contract of storages: what callers may rely on, and every backend must do.

A storage holds files under paths. A path is relative, POSIX style, without `..`, `.` or empty parts
(`saveany.planning.paths` makes such paths). Every storage checks paths again, and raises `UnsafePath` for one
that could lead outside its base folder.

A file is written through an `Upload` and is invisible under its final name until it is committed: nobody who
reads the storage ever sees an incomplete file. It is read through a `Reader`, which never mixes the bytes of
two versions.

A storage does not retry a transfer that has failed, and neither counts nor logs: that is the caller's task
(`workers/transfer.py`). Within one call it may wait for a server that holds a lock or lists a file late, and
a library may send a request once more.

Errors are those of `saveany.errors`: `NameTaken`, `UnsafePath`, `NoSpace`, `StorageUnavailable`, and
`StorageError` for everything else. Errors of libraries are translated to these, and no message contains a
secret.

A name that the server cannot hold is encoded, reversibly: listings show the original name.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from saveany.errors import StorageError, StorageUnavailable
from saveany.net.guard import Network
from saveany.ranges import Range as Range  # part of the contract
from saveany.texts import Text
from storages.listing import MAX_DEPTH, endless_listing
from storages.listing import Entry as Entry  # part of the contract
from storages.listing import Usage as Usage  # part of the contract


class StorageOptions(BaseModel):
    """The options of every `[[storages]]` table; each backend has a model that adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name used in requests and by the bot; unique.", min_length=1)
    type: str = Field(description="Backend: see the list of storages.")
    enable: bool = Field(default=True, description="Set to false to keep the table but not use it.")

    def folders_here(self) -> list[Path]:
        """The folders of this machine that hold the files of the storage, as far as the options show them.
        SaveAny refuses those that contain its own files."""
        return []


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The abilities of a storage. Callers, the API, the documentation and the tests read them from here, and
    do not test for methods."""

    random_writes: bool = False  # `Upload.write` accepts parts in any order; without it only in order
    reads_back: bool = False  # `Upload.read` returns written bytes, so that late parts can be hashed
    resumes: bool = False  # `begin` keeps durable bytes of an earlier epoch
    needs_size: bool = False  # `begin` needs the size of the file
    late_name: bool = False  # `commit` accepts any name in the folder; without it only that of `begin`
    exclusive: bool = False  # exactly one of several concurrent commits to the same free name succeeds
    fences: bool = False  # `begin` of a later epoch also stops an earlier writer that has not sealed yet
    lists: bool = False  # `list` and `walk` work
    reads: bool = False  # `open` works
    folders: bool = False  # folders exist by themselves: `mkdir` makes an empty one
    moves: bool = False  # `move` works
    copies: bool = False  # `Upload.copy` copies a file without sending its bytes through this machine
    usage: bool = False  # `usage` works
    links: bool = False  # `url` works
    presigned: bool = False  # `url` leads to the bytes themselves, under the headers that the caller wants
    this_machine_only: bool = False  # the files are on a disk of one machine
    needs_account: bool = False  # a Telegram account of the worker sends the files
    albums: bool = False  # `publish_album` shows files that belong together as one album
    ordered: bool = False  # files are shown in the order of their commits


@dataclass(frozen=True, slots=True)
class Services:
    """The resources that the process provides to its storages. `Storage.probe` reports those that are
    missing."""

    #: A folder of this machine for temporary files and for what must survive a restart, such as host keys.
    scratch: Path = Path("data/scratch")
    #: Proxy for connections to the Internet: an http://, https:// or socks5:// URL, "" for none.
    proxy: str = ""
    #: Private networks to which a server may redirect us; others are refused.
    allow: Sequence[Network] = ()
    #: Sends files to Telegram (`storages.message_sender.MessageSender`); None without an account.
    message_sender: Any = None


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Identifies an upload. A later epoch of the same task and item takes over the unfinished upload of an
    earlier one."""

    task: str
    item: int
    epoch: int  # the number of the claim under which a worker runs the task
    undone: int = 0  # number of times the published file was deleted again; each starts a new upload


@dataclass(frozen=True, slots=True)
class AlbumFile:
    """A file of an album."""

    key: UploadKey
    path: str
    size: int  # bytes
    caption: str | None  # None: the caption that the storage gives to a single file


@dataclass(frozen=True, slots=True)
class Receipt:
    """The file that a commit has made visible: everything a caller must record to find it again."""

    path: str
    size: int  # bytes
    version: str = ""  # identifies this content, for example an ETag; "" if the storage has none
    page: str = ""  # permanent URL of a page that shows the file; "" if there is none
    #: What the storage needs, besides the path, to read or delete the file later. Values are as in JSON.
    reference: Mapping[str, Any] = field(default_factory=dict)
    #: The storage keeps another version of the file, of `size` bytes or in parts: its checksum is not known.
    altered: bool = False
    note: Text | None = None  # what a user should know about how it was saved


#: Why a file is not sent by reference: it may not be copied (protected), or not by this account or storage.
NoReference = Literal["protected", "impossible"]


class Upload(abc.ABC):
    """One file being written: `write` all bytes, then `seal`, then `commit`.

    An upload belongs to one transfer; with `random_writes`, `write` may be called concurrently. Between
    `seal` and `commit` the caller must check that it still holds the claim: without `fences`, a later epoch
    can stop only uploads that are sealed.
    """

    #: The bytes that `begin` has kept of an earlier epoch: all of its argument `keep`, or none.
    kept: tuple[Range, ...] = ()

    @abc.abstractmethod
    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `offset`. When this returns, the buffer may be reused; the bytes may not be durable
        yet."""

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """Have the storage itself copy a whole file here, from a storage that it `copies_from`. Replaces all
        calls of `write`; the upload must not have kept bytes. `report` is called with the numbers of bytes
        copied.

        Raises `StorageError` if the storage cannot copy the file; then the upload can only be aborted."""
        raise NotImplementedError(f"{type(self).__name__} cannot copy")

    async def pull(self, url: str) -> None:
        """Have the storage's service fetch a whole file from a public URL (`Storage.pulls`). Replaces all
        calls of `write`; the upload must not have kept bytes. Raises as `copy`."""
        raise NotImplementedError(f"{type(self).__name__} cannot fetch files")

    @abc.abstractmethod
    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """Make bytes durable, and return which are: they survive a power failure, and a later epoch can
        `keep` them. `written` is everything written so far. Ranges are ascending and do not touch."""

    @abc.abstractmethod
    async def seal(self, size: int) -> None:
        """End the writing: the storage has all bytes, under a name that nobody reads.

        Raises `StorageError` if not exactly `size` bytes were written; with `random_writes` the missing ones
        can then still be written. Sealing again is harmless.
        """

    @abc.abstractmethod
    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """Make the file visible at `path`, complete and durable, in one atomic step. Seals first if
        necessary.

        Raises `NameTaken` if a file has the name and `replace` is false, or if a folder has it; `Fenced` if a
        later epoch has taken the upload over; and what `seal` raises. After `NameTaken` the upload is
        unchanged; with `late_name` it can be committed to another path in the same folder. A commit that was
        canceled may have gone through: `Storage.finished` finds out.
        """

    @abc.abstractmethod
    async def abort(self) -> None:
        """Remove the written bytes. Harmless after `commit`, and if nothing is left."""

    async def read(self, offset: int, size: int) -> bytes:
        """Bytes that were written before (capability `reads_back`); fewer at the end of the file."""
        raise NotImplementedError(f"{type(self).__name__} cannot read back")

    async def scan(self, offset: int, size: int, take: Callable[[bytes | memoryview], object]) -> None:
        """Call `take` with the bytes that `read` would return, in order and in pieces, which it must not
        keep. It may be called in a thread."""
        for at in range(offset, offset + size, 1 << 20):
            take(await self.read(at, min(1 << 20, offset + size - at)))

    async def __aenter__(self) -> Upload:
        return self

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None:
        """Release handles. Bytes that were neither committed nor aborted stay for a later epoch."""


#: Lends a descriptor to a function: the result must be called once, in any thread.
Lend = Callable[[Callable[[int], int]], Callable[[], int]]


class Reader(abc.ABC):
    """A file opened for reading. All bytes it returns belong to one version of the file, the one that
    `size`, `version` and `modified_at` describe; if it can no longer be read, reading raises."""

    def __init__(self, storage: str, path: str, size: int, modified_at: int = 0, version: str = "") -> None:
        self._storage = storage
        self.path = path
        self.size = size  # bytes
        self.modified_at = modified_at  # milliseconds since the epoch; 0 if the storage does not record it
        self.version = version  # as in `Receipt`

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end` (None: the end of the file), in pieces.

        Raises `StorageError` if the file has changed or is gone, `StorageUnavailable` if the connection
        breaks off before `end`. A change may be noticed only after the last piece: what was read counts only
        if no error followed. Several reads may run at once.
        """
        end = self.size if end is None else min(end, self.size)
        at = start
        if start < end:
            async with aclosing(self._pieces(start, end)) as pieces:
                async for piece in pieces:
                    at += len(piece)
                    yield piece
        await self._check_unchanged()
        if start < end and at != end:
            raise StorageUnavailable(
                "storage {storage!r}: {path!r} ended at byte {at} of {end}",
                storage=self._storage,
                path=self.path,
                at=at,
                end=end,
            )

    #: Whether the kernel can pass the file to a socket: `send` works.
    sends = False

    async def send(self, lend: Lend, start: int, end: int) -> int:
        """Let the kernel send bytes from `start` on, up to `end`, to the non-blocking socket that `lend` has.

        Returns after a moment at most: how many were sent, 0 if the socket takes none. Raises
        `ConnectionError` if it is closed, and as `read`, but notices no changes of the file.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """These bytes of the file, `start` < `end` <= `size`; fewer if the file ends before."""

    @abc.abstractmethod
    async def _check_unchanged(self) -> None:
        """Raise `changed()` unless the file is still the one that was opened. May do nothing where `_pieces`
        cannot return bytes of another version."""

    def changed(self) -> StorageError:
        """The error for a file that has changed since it was opened."""
        return StorageError(
            "storage {storage!r}: {path!r} has changed while it was read",
            storage=self._storage,
            path=self.path,
        )

    async def close(self) -> None:
        """Release handles."""
        return  # most readers hold none

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Storage(abc.ABC):
    """Files under paths. A process opens each storage once; all transfers share it."""

    capabilities: ClassVar[Capabilities]
    #: Maximum number of files that a worker uploads at the same time; each task may upload one in any case.
    uploads_at_once: int = 1
    #: Number of files of a task that are made an album (capability `albums`); 0: only those posted as one.
    album_size: int = 0
    name: str

    @abc.abstractmethod
    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """Start an upload to `path`, or with `late_name` to another name in its folder.

        Takes over the unfinished upload of an earlier epoch of the same task and item, whose writer can no
        longer commit if it is still running. `keep` lists the bytes of that upload that are durable according
        to the caller's checkpoint. The new upload has all of them (`Upload.kept`), or it starts empty;
        storages with `resumes` keep them if they still exist. Raises `Fenced` if a later epoch has begun, and
        `StorageError` if `size` is None and the storage `needs_size`.
        """

    @abc.abstractmethod
    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """The receipt of an earlier epoch's commit to `final` that went through before its worker died, None
        if none did.

        After this call no earlier epoch can commit, whatever the result. If it is None, the caller records
        that the item is no longer finishing before it calls `begin`.
        A receipt is returned only if no part of the upload is left and `final` has exactly `size` bytes. If
        a part is left, the result is None even when `final` exists, unless both are the same file: then the
        rest of the commit is done and its receipt returned.
        """

    async def publish_album(self, files: Sequence[AlbumFile]) -> Sequence[Receipt] | None:
        """Make sealed uploads of one task visible as an album, in this order (capability `albums`): the
        receipt of each, or None if one is neither visible nor sealed.

        Replaces `commit` and `finished` for these files. Calling it again, by a later epoch too, shows no
        file twice, and shows those that an earlier epoch has only sealed."""
        raise NotImplementedError(f"{type(self).__name__} has no albums")

    @abc.abstractmethod
    async def discard(self, key: UploadKey, path: str) -> None:
        """Remove what any epoch up to `key.epoch` has left of this upload, if anything. Thousands of calls at
        the same time are fine: they share what they have to look at."""

    @abc.abstractmethod
    async def probe(self) -> None:
        """Write a small file, read it back and delete it. Raises an error that tells a user what is wrong and
        what to do."""

    async def reach(self) -> None:
        """Raise `StorageUnavailable` if the server cannot be reached, or accepts connections but sends
        nothing.

        Takes a few seconds at most and may be called every 2 seconds. A storage that cannot find this out
        without a `probe` does nothing."""
        return

    async def identity(self) -> str | None:
        """The random id in the marker file of the storage's disk, None if there is no marker. Writes nothing.

        It shows whether the files of a `this_machine_only` storage are present: the folder of an unmounted
        disk has no marker. This object expects the first id that it has read or adopted. While the disk has
        another one or none, every other method raises `StorageUnavailable` and writes nothing; so does a
        damaged marker. Storages without `this_machine_only` have no identity.
        """
        return None

    async def adopt(self, identity: str) -> None:
        """Write this id to the disk, durably, unless it has one; of two concurrent calls one wins.

        This object then expects this id, even if it has read another one before. Raises `StorageUnavailable`
        if the disk has another one. Storages without an identity do nothing.
        """
        return

    @abc.abstractmethod
    async def stat(self, path: str) -> Entry | None:
        """The file or folder at `path`, None if there is none."""

    async def size(self, path: str) -> int | None:
        """Bytes of the file at `path`, None if there is no file; a folder is not one."""
        entry = await self.stat(path)
        return None if entry is None or entry.is_dir else entry.size

    @abc.abstractmethod
    async def delete(self, path: str) -> None:
        """Remove the file at `path`, if it exists."""

    async def remove(self, receipt: Receipt) -> None:
        """Remove the file that a commit has made visible, if it exists. A storage without paths finds it by
        `Receipt.reference`."""
        await self.delete(receipt.path)

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """The entries of folder `path` ("" is the root), sorted by name (capability `lists`): only names
        after `after`, and at most `limit` of them. Raises `StorageError` for a file, and, with `folders`, for
        a missing folder; a missing root is empty."""
        raise NotImplementedError(f"{type(self).__name__} cannot list")

    async def walk(self, path: str) -> AsyncGenerator[Entry, None]:
        """All files below folder `path`, depth first, sorted by name (capability `lists`)."""
        if path.count("/") >= MAX_DEPTH:
            raise endless_listing(self.name, path)
        for entry in await self.list(path):
            if not entry.is_dir:
                yield entry
                continue
            async for below in self.walk(entry.path):
                yield below

    async def open(self, path: str) -> Reader:
        """Open a file for reading (capability `reads`). Raises `StorageError` if there is no such file."""
        raise NotImplementedError(f"{type(self).__name__} cannot read")

    async def mkdir(self, path: str) -> None:
        """Make a folder and those above it, as far as they are missing (capability `folders`)."""
        raise NotImplementedError(f"{type(self).__name__} has no folders")

    async def move(self, path: str, to: str, *, replace: bool = False) -> Receipt:
        """Give a file another path (capability `moves`). Raises `NameTaken` as `Upload.commit` does, and
        `StorageError` if the file does not exist."""
        raise NotImplementedError(f"{type(self).__name__} cannot move")

    def takes_from(self, origin: Storage) -> bool:
        """Whether `take` may be able to move files from that storage here."""
        return self.capabilities.moves and origin is self

    async def take(self, origin: Storage, path: str, to: str, *, replace: bool = False) -> Receipt:
        """Move the file at `path` of `origin`, from which this storage `takes_from`, to the path `to` here in
        one step. Raises as `move`, and leaves the file where it is if it cannot be moved in one step."""
        return await self.move(path, to, replace=replace)

    def copies_from(self, origin: Storage) -> bool:
        """Whether `Upload.copy` can copy files from that storage: this one, or another that it can reach."""
        return self.capabilities.copies and origin is self

    async def refer(
        self, key: UploadKey, path: str, size: int, message: Mapping[str, Any], caption: str
    ) -> Upload | NoReference:
        """An upload that needs no bytes, because it sends the file of a Telegram message (`Media.source`) by
        reference; or why there is none."""
        return "impossible"

    @property
    def pulls(self) -> bool:
        """Whether the service of this storage can fetch files from public URLs (`Upload.pull`), and the
        configuration allows it."""
        return False

    async def usage(self) -> Usage:
        """How full the storage is (capability `usage`)."""
        raise NotImplementedError(f"{type(self).__name__} does not report its usage")

    async def url(self, path: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
        """A URL at which anyone can read the file for at least this many seconds (capability `links`).
        `headers`, Content-Disposition and Content-Type, are those of its response (`presigned`)."""
        raise NotImplementedError(f"{type(self).__name__} has no links")

    async def close(self) -> None:
        """Close connections."""
        return
