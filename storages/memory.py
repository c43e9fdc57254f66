"""Files in the memory of this process: for tests, and as an example of a backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from pydantic import Field

from saveany.errors import StorageError
from storages.base import Capabilities, Entry, Services, StorageOptions
from storages.chunks import Chunks
from storages.errors import folder_needed, name_taken
from storages.remote import RemoteStorage

PIECE = 1 << 18


class MemoryOptions(StorageOptions):
    """Options of a `memory` storage. Its files are lost when the process ends."""

    space: str = Field(default="", description="Storages with the same space share their files.")


@dataclass
class _Space:
    files: dict[str, tuple[bytearray, int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {""})


_SPACES: dict[str, _Space] = {}


class MemoryStorage(RemoteStorage):
    """Files in a dictionary."""

    capabilities = Capabilities(
        resumes=True,
        late_name=True,
        exclusive=True,
        lists=True,
        reads=True,
        folders=True,
        moves=True,
        copies=True,
    )
    uploads_at_once = 64

    def __init__(self, options: MemoryOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._space = _SPACES.setdefault(options.space or options.name, _Space())

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        before, _ = self._space.files.get(path, (bytearray(), 0))
        data = before[:offset]
        self._space.files[path] = (data, _now())
        async for chunk in chunks:
            data += chunk

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if path not in self._space.files:
            raise FileNotFoundError(path)
        self._check_free(to, replace)
        self._space.files[to] = self._space.files.pop(path)

    async def _remove(self, path: str) -> None:
        self._space.files.pop(path, None)

    async def _make_folder(self, path: str) -> None:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder in self._space.files:
                raise self._in_the_way(folder)
            self._space.folders.add(folder)

    async def _scan(self, path: str) -> list[Entry]:
        await asyncio.sleep(0)
        if path in self._space.files:
            raise self._in_the_way(path)
        if path not in self._space.folders:
            raise FileNotFoundError(path)
        names = [*self._space.files, *(self._space.folders - {""})]
        inside = [name for name in names if name.rpartition("/")[0] == path]
        return [entry for name in inside if (entry := await self._stat(name))]

    async def _stat(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        if path in self._space.folders:
            return Entry(name, path, 0, is_dir=True, modified_at=0)
        if path not in self._space.files:
            return None
        data, at = self._space.files[path]
        return Entry(name, path, len(data), is_dir=False, modified_at=at)

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if file.path not in self._space.files:
            raise FileNotFoundError(file.path)
        data, _ = self._space.files[file.path]
        for at in range(start, end, PIECE):
            yield bytes(data[at : min(end, at + PIECE)])

    async def _copy(self, path: str, to: str) -> None:
        if path not in self._space.files:
            raise FileNotFoundError(path)
        data, _ = self._space.files[path]
        self._space.files[to] = (bytearray(data), _now())

    def _check_free(self, path: str, replace: bool) -> None:
        if path in self._space.folders or (path in self._space.files and not replace):
            raise name_taken(self.name, path)

    def _in_the_way(self, path: str) -> StorageError:
        return folder_needed(self.name, path)


def _now() -> int:
    return time.time_ns() // 1_000_000
