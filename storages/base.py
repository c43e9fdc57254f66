"""The contract every storage keeps, in prose a caller may rely on.

A storage holds files under paths. A path is relative, POSIX style, without `..`, `.` or empty parts
(`saveany.planning.paths` makes them so); a storage checks again and raises `UnsafePath` rather than touch
anything outside its base.

A file comes in through an `Upload` and is invisible under its final name until `commit` returns: a reader of
the storage never sees half a file. Nothing in here retries, counts or logs: that is the transfer's work
(`workers/transfer.py`). Errors are those of `saveany.errors`: `NameTaken`, `UnsafePath`, `NoSpace`,
`StorageUnavailable`, or `StorageError` for the rest; an `OSError` never gets out.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

#: A half-open range of bytes, (start, end).
Range = tuple[int, int]


class StorageOptions(BaseModel):
    """What every `[[storages]]` table has; a backend's own options model adds to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name used in requests and by the bot; unique.", min_length=1)
    type: str = Field(description="Backend: see the list of storages.")
    enable: bool = Field(default=True, description="Set to false to keep the table but not use it.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a storage can do, as data: callers read this, they never probe for methods."""

    random_writes: bool = False  # `Upload.write` takes parts in any order; else strictly in order
    reads_back: bool = False  # `Upload.read` works, so late parts can be hashed and a prefix re-read
    resumes: bool = False  # `begin` keeps durable bytes of an earlier epoch
    lists: bool = False  # `list` works
    reads: bool = False  # `read` works
    this_machine_only: bool = False  # its files are on one machine's disk


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Whose upload it is. A later epoch of the same task and item takes over what an earlier one left."""

    task: str
    item: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder in a listing."""

    name: str
    path: str
    size: int
    is_dir: bool
    modified_at: int  # milliseconds since the epoch


class Upload(abc.ABC):
    """One file on its way in. Used by one transfer; `write` may be called concurrently if `random_writes`."""

    #: What `begin` kept of an earlier epoch: all of the `keep` it was given, or nothing.
    kept: tuple[Range, ...] = ()

    @abc.abstractmethod
    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Put `data` at `offset`. When it returns, `data` may be reused; it need not be durable yet."""

    @abc.abstractmethod
    async def sync(self) -> None:
        """Return when everything written so far survives a power cut."""

    @abc.abstractmethod
    async def commit(self, path: str, size: int, *, replace: bool) -> None:
        """Make the file visible under `path`, whole and durable, in one atomic step.

        Raises `NameTaken` if the name exists and `replace` is false, `StorageError` if what was written is
        not exactly `size` bytes, `Fenced` if a later epoch has taken the upload over. After `NameTaken` the
        upload is as before and may be committed under another path of the same folder. A commit that was
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
        Storages with `resumes` keep them if they are there.
        """

    @abc.abstractmethod
    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> bool:
        """Whether an earlier epoch's commit to `final` went through before its worker died.

        Afterwards no earlier epoch can commit, whatever the answer. If it is False the caller records that
        the item is not finishing any more before it calls `begin`.
        True only if no part of the upload is left and `final` has exactly `size` bytes. If a part is left
        the answer is False even when `final` exists, unless both are one and the same file: then what is
        missing of the commit is done and the answer is True.
        """

    @abc.abstractmethod
    async def discard(self, key: UploadKey, path: str) -> None:
        """Remove whatever any epoch up to `key.epoch` left of this upload; nothing left is fine."""

    @abc.abstractmethod
    async def probe(self) -> None:
        """Write a small file, read it back, delete it. Raises what went wrong, in words for a user."""

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
    async def size(self, path: str) -> int | None:
        """Bytes of the file at `path`, None if there is none (a folder is none)."""

    @abc.abstractmethod
    async def delete(self, path: str) -> None:
        """Remove the file at `path`; a missing one is fine."""

    async def list(self, path: str) -> list[Entry]:
        """What is in folder `path`, by name (capability `lists`). A missing folder raises `StorageError`."""
        raise NotImplementedError(f"{type(self).__name__} cannot list")

    def read(self, path: str, offset: int = 0, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in pieces (capability `reads`)."""
        raise NotImplementedError(f"{type(self).__name__} cannot read")

    async def close(self) -> None:
        """Release connections."""
        return  # most storages hold none
