"""The contract every storage keeps, in prose a caller may rely on.

A storage holds files under paths. A path is relative, POSIX style, without `..`, `.` or empty parts
(`saveany.planning.paths` makes them so); a storage checks again and raises `UnsafePath` rather than touch
anything outside its base.

A file comes in through an `Upload` and is invisible under its final name until `commit` returns: a reader of
the storage never sees half a file. Nothing in here retries, counts or logs: that is the transfer's work
(`workers/transfer.py`). Errors are those of `saveany.errors`: `NameTaken`, `UnsafePath`, `NoSpace`,
`StorageUnavailable`, or `StorageError` for the rest; no error of a library gets out, and none shows a secret.

A name that the backend cannot hold is encoded, reversibly: whoever lists and reads through the storage sees
the name that was given.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from saveany.errors import StorageError, StorageUnavailable
from saveany.net.guard import Network

#: A half-open range of bytes, (start, end).
Range = tuple[int, int]


class StorageOptions(BaseModel):
    """What every `[[storages]]` table has; a backend's own options model adds to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name used in requests and by the bot; unique.", min_length=1)
    type: str = Field(description="Backend: see the list of storages.")
    enable: bool = Field(default=True, description="Set to false to keep the table but not use it.")

    def folders_here(self) -> list[Path]:
        """The folders of this machine that its files are in, as far as the options tell: none may have
        SaveAny's own files in it."""
        return []


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a storage can do, as data: callers read this, they never probe for methods."""

    random_writes: bool = False  # `Upload.write` takes parts in any order; else strictly in order from 0 on
    reads_back: bool = False  # `Upload.read` works, so late parts can be hashed and a prefix re-read
    resumes: bool = False  # `begin` keeps durable bytes of an earlier epoch
    needs_size: bool = False  # `begin` must be told the size
    late_name: bool = False  # `commit` takes any name of the folder; else only the path given to `begin`
    exclusive: bool = False  # of several that commit to one free name at once, exactly one succeeds
    fences: bool = False  # `begin` of a later epoch stops even a writer that has not sealed
    lists: bool = False  # `list` works
    reads: bool = False  # `open` works
    folders: bool = False  # there are folders of their own: `mkdir` makes an empty one
    moves: bool = False  # `move` works
    copies: bool = False  # `Upload.copy` works, without the bytes coming here
    usage: bool = False  # `usage` works
    links: bool = False  # `url` works
    this_machine_only: bool = False  # its files are on one machine's disk
    needs_account: bool = False  # a Telegram account of the worker sends the files
    albums: bool = False  # `publish_album` works: files that belong together are shown together


@dataclass(frozen=True, slots=True)
class Services:
    """What the process lends to its storages. A storage that needs what is not there says so in `probe`."""

    #: A folder of this machine for what lies between two runs of a process: sockets, spooled files.
    scratch: Path = Path("data/scratch")
    #: Proxy for the outside world: http://, https:// or socks5:// URL, "" for none.
    proxy: str = ""
    #: Private networks that a server may send us to: what it says is not the operator's word.
    allow: Sequence[Network] = ()
    #: Sends files to Telegram (`storages.telegram.MessageSender`), None where no account is configured.
    message_sender: Any = None


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Whose upload it is. A later epoch of the same task and item takes over what an earlier one left."""

    task: str
    item: int
    epoch: int
    undone: int = 0  # how often the file was visible and was deleted again: it is another one since then


@dataclass(frozen=True, slots=True)
class AlbumFile:
    """A file of an album: whose upload it is, the path and the bytes it has, and what is said beside it."""

    key: UploadKey
    path: str
    size: int
    caption: str | None  # None: what the storage says beside a file that is alone


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a commit has made visible. All a caller must record to find the file again."""

    path: str
    size: int  # bytes
    version: str = ""  # the storage's mark of this content, such as an ETag; "" if it gives none
    page: str = ""  # URL of the page where people see the file, for good; "" if there is none
    #: What the storage needs, beside the path, to read or delete the file later: plain values, as for JSON.
    reference: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder in a listing."""

    name: str
    path: str
    size: int  # bytes; 0 for a folder
    is_dir: bool
    modified_at: int  # milliseconds since the epoch; 0 if the storage does not tell


#: No file is larger, and no time later (the end of the year 9999): a server that says so is broken, or worse.
_MOST_BYTES, _LAST_TIME = 1 << 62, 253_402_300_799_999


#: No list of a folder, and no folder in folders, is longer: a server that goes on is broken, or worse.
MOST_ENTRIES, MOST_FOLDERS = 1_000_000, 100


def endless(name: str, path: str) -> StorageError:
    """What is wrong with a list that goes on."""
    return StorageError(f"storage {name!r}: the server's list of {path or 'the root'!r} does not end")


def believed(entry: Entry) -> Entry | None:
    """An entry as a server has told it, None if there can be no such file or folder."""
    try:
        named = entry.name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    if entry.name in ("", ".", "..") or b"/" in named or b"\0" in named or not 0 <= entry.size <= _MOST_BYTES:
        return None
    return entry if 0 <= entry.modified_at <= _LAST_TIME else replace(entry, modified_at=0)


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a storage is, in bytes; None is what it does not tell."""

    used: int | None = None
    free: int | None = None
    total: int | None = None


class Upload(abc.ABC):
    """One file on its way in: `write` until all is there, `seal`, `commit`.

    Used by one transfer; `write` may be called concurrently if `random_writes`. Between `seal` and `commit`
    the caller makes sure that the upload is still its own: where a storage lacks `fences`, a later epoch
    stops only what was sealed.
    """

    #: What `begin` kept of an earlier epoch: all of the `keep` it was given, or nothing.
    kept: tuple[Range, ...] = ()

    @abc.abstractmethod
    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Put `data` at `offset`. When it returns, `data` may be reused; it need not be durable yet."""

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """In place of every `write`: have the storage itself put the whole of a file here, one of a storage
        that it `copies_from`; nothing must be kept. `report` is told the bytes as they are there.

        Raises `StorageError` if that cannot be done; then only `abort` is left."""
        raise NotImplementedError(f"{type(self).__name__} cannot copy")

    async def pull(self, url: str) -> None:
        """In place of every `write`: have the service fetch the whole of a file by itself, from a public URL
        (`Storage.pulls`); nothing must be kept. Raises as `copy`."""
        raise NotImplementedError(f"{type(self).__name__} cannot fetch anything by itself")

    @abc.abstractmethod
    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """Make what it can of `written` durable, and return which bytes are: they survive a power cut, and
        a later epoch can `keep` them. Ascending, apart from each other; `written` is all there is so far."""

    @abc.abstractmethod
    async def seal(self, size: int) -> None:
        """End the writing: the storage has all bytes, under a name that nobody reads.

        Raises `StorageError` if what was written is not exactly `size` bytes, and the upload may go on then
        where `random_writes`. Sealing again is harmless.
        """

    @abc.abstractmethod
    async def commit(self, path: str, size: int, *, replace: bool) -> Receipt:
        """Make the file visible under `path`, whole and durable, in one atomic step; seals first if need be.

        Raises `NameTaken` if the name exists and `replace` is false, or if a folder has it; what `seal`
        raises; `Fenced` if a later epoch has taken the upload over. After `NameTaken` the upload is as before
        and, with `late_name`, may be committed under another path of the same folder. A commit that was
        cancelled may have gone through: `Storage.finished` tells.
        """

    @abc.abstractmethod
    async def abort(self) -> None:
        """Remove what was written. Never raises for what is not there; harmless after `commit`."""

    async def read(self, offset: int, size: int) -> bytes:
        """Bytes written earlier (capability `reads_back`)."""
        raise NotImplementedError(f"{type(self).__name__} cannot read back")

    async def __aenter__(self) -> Upload:
        return self

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None:
        """Release handles; what was written stays for a later epoch unless it was committed or aborted."""


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

    @abc.abstractmethod
    def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """These bytes of the file, `start` < `end` <= `size`; fewer if the file ends before."""

    @abc.abstractmethod
    async def _check_unchanged(self) -> None:
        """Raise `changed()` unless the file is still the one that was opened. May do nothing where `_pieces`
        cannot return bytes of another version."""

    def changed(self) -> StorageError:
        """The error for a file that is not what it was when it was opened."""
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
    """A place for files. Opened once per process and shared by its transfers."""

    capabilities: ClassVar[Capabilities]
    name: str

    @abc.abstractmethod
    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """Start the upload that will become `path` (or a sibling of it).

        Takes over what an earlier epoch of the same task and item left, in such a way that the earlier
        writer, if it still lives, can no longer commit. `keep` are the bytes of it that a checkpoint of the
        caller says are durable: the new upload has either all of them (`Upload.kept`) or starts empty.
        Storages with `resumes` keep them if they are there. Raises `Fenced` if a later epoch has begun,
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
        """Remove whatever any epoch up to `key.epoch` left of this upload; nothing left is fine."""

    @abc.abstractmethod
    async def probe(self) -> None:
        """Write a small file, read it back, delete it. Raises what went wrong, in words for a user."""

    async def reach(self) -> None:
        """Raise `StorageUnavailable` if the server is evidently away, or takes connections and says nothing.
        Quick, and harmless every 2 s; whatever cannot tell without a `probe` says nothing."""
        return

    async def identity(self) -> str | None:
        """The random id that the disk of this storage shows, None if it shows none. Makes and writes nothing.

        It tells whether the files of a `this_machine_only` storage are here: an unmounted disk shows none.
        The first id this object has seen or adopted is expected from then on: while another or none is shown,
        every other method raises `StorageUnavailable` and writes nothing. A marker that is there but cannot
        be understood raises it too. Storages that are not bound to a machine have no identity.
        """
        return None

    async def adopt(self, identity: str) -> None:
        """Let the disk show this id, durably, if it shows none yet; of two at once one wins.

        It is the one expected from then on, also after another was seen. Raises `StorageUnavailable` if it
        shows another one. Nothing to do for storages without an identity.
        """
        return  # most storages are not bound to a machine

    @abc.abstractmethod
    async def stat(self, path: str) -> Entry | None:
        """What is at `path`, None if there is nothing."""

    async def size(self, path: str) -> int | None:
        """Bytes of the file at `path`, None if there is none (a folder is none)."""
        entry = await self.stat(path)
        return None if entry is None or entry.is_dir else entry.size

    @abc.abstractmethod
    async def delete(self, path: str) -> None:
        """Remove the file at `path`; a missing one is fine."""

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """What is in folder `path` ("" is the root), by name (capability `lists`): the names after `after`,
        at most `limit` of them. A file raises `StorageError`, and so does a missing folder where there are
        `folders`; a missing root is empty."""
        raise NotImplementedError(f"{type(self).__name__} cannot list")

    async def walk(self, path: str) -> AsyncGenerator[Entry, None]:
        """Every file below folder `path`, depth first, by name (capability `lists`)."""
        if path.count("/") >= MOST_FOLDERS:
            raise endless(self.name, path)
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
        """Make the folder and those above it (capability `folders`); one that is there is fine."""
        raise NotImplementedError(f"{type(self).__name__} has no folders")

    async def move(self, path: str, to: str, *, replace: bool = False) -> Receipt:
        """Give a file another path (capability `moves`). Raises `NameTaken` as `Upload.commit` does, and
        `StorageError` if there is no such file."""
        raise NotImplementedError(f"{type(self).__name__} cannot move")

    def copies_from(self, origin: Storage) -> bool:
        """Whether `Upload.copy` takes files of that storage: this one's, or another's that it can reach."""
        return self.capabilities.copies and origin is self

    @property
    def pulls(self) -> bool:
        """Whether it has its service fetch files from public URLs (`Upload.pull`), as the operator wishes."""
        return False

    async def usage(self) -> Usage:
        """How full it is (capability `usage`)."""
        raise NotImplementedError(f"{type(self).__name__} does not tell how full it is")

    async def url(self, path: str, seconds: int) -> str:
        """A link by which anyone can read the file for at least so long (capability `links`)."""
        raise NotImplementedError(f"{type(self).__name__} has no links")

    async def close(self) -> None:
        """Release connections."""
        return  # most storages hold none
