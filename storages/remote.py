"""Storages behind a protocol that can put, rename and list: everything the contract asks, built on that.

A backend (WebDAV, SFTP, FTP, rclone, …) inherits `RemoteStorage` and gives the few calls below; how an upload
stays invisible, is fenced, resumed, finished and discarded is written here, once.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, AsyncIterator

from storages.base import Entry, Storage

Chunks = AsyncIterator[bytes | bytearray | memoryview]


class RemoteStorage(Storage):
    """The part that all of them share. Paths are those of the contract, checked; the backend adds its base.

    A call raises `FileNotFoundError` and `NameTaken` where it says so, else errors of the contract
    (`StorageUnavailable`, `NoSpace`, `StorageError`): those of its library are mapped in the backend.
    """

    @abc.abstractmethod
    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        """Write a file from `offset` on (0 unless the storage `resumes`): it ends where the chunks end.

        The folder is there. `size` is the length of the whole file if it is known. Returns when the server
        has said that it has everything; an error may leave a shorter file. A chunk is not used after the
        next one was asked for. If `chunks` raises, the request is broken off and the error gets out.
        """

    @abc.abstractmethod
    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        """Give a file another path in the same folder. Raises `FileNotFoundError` if it is not there,
        `NameTaken` if the other is (unless `replace`, and always if that is a folder)."""

    @abc.abstractmethod
    async def _remove(self, path: str) -> None:
        """Remove a file; a missing one is fine."""

    @abc.abstractmethod
    async def _make_folder(self, path: str) -> None:
        """Make a folder and those above it ("" is the base itself); one that is there is fine."""

    @abc.abstractmethod
    async def _scan(self, path: str) -> list[Entry]:
        """Everything in a folder, in any order. Raises `FileNotFoundError` if there is no such folder."""

    @abc.abstractmethod
    async def _stat(self, path: str) -> Entry | None:
        """What is at a path, None if there is nothing."""

    @abc.abstractmethod
    def _read(self, path: str, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        """As `Storage.read`. Raises `FileNotFoundError` if there is no such file."""
