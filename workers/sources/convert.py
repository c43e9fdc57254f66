"""Convert: a video of a storage becomes an MP4 that starts to play before all of it is there.

Its streams are copied as they are (remuxing), so nothing is lost and little is computed. ffmpeg reads and
writes files of the task on this machine's disk, and nothing else.
"""

from __future__ import annotations

import asyncio
import posixpath
import struct
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from saveany.errors import Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.names import MAX_BYTES
from saveany.planning.plan import ResolvedFile
from saveany.programs import SELF_CONTAINED_FORMATS, find_program, is_installed
from saveany.ranges import Range
from saveany.texts import Text
from storages.base import Storage
from workers.sources import disk
from workers.sources.base import Report, Source, Tools, Write
from workers.sources.joining import missing
from workers.sources.process import remove_folder, run
from workers.sources.transfer import version_of

#: Bytes at the start of an MP4 in which its index is looked for.
_HEAD: Final = 64 << 10
_SUFFIX: Final = ".mp4"


class ConvertSource(Source):
    """`convert`: one file. If it needs no conversion, the task ends without a file."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._program = tools.config.convert.ffmpeg
        self._scratch = tools.scratch.absolute()  # ffmpeg runs in another working directory

    @property
    def problem(self) -> Text | None:
        """That ffmpeg is missing, None if it is not."""
        return None if is_installed(self._program) else missing(self._program)

    def is_local(self, item: Item) -> bool:
        """`fetch` only copies."""
        return True

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The file, with the name that it will have; none if it is such an MP4 already."""
        storage, path = self._tools.storage(spec.storage), spec.links[0]
        if not storage.capabilities.reads:
            raise Permanent("storage {storage!r} cannot read its files", storage=storage.name)
        entry = await storage.stat(path)
        if entry is None or entry.is_dir:
            raise Permanent("{path} does not exist any more", path=f"{storage.name}:/{path}")
        if starts_at_once(await _head(storage, path, min(_HEAD, entry.size))):
            return []
        stem = posixpath.splitext(posixpath.basename(path))[0]
        name = stem.encode()[: MAX_BYTES - len(_SUFFIX)].decode(errors="ignore") + _SUFFIX
        source = {"path": path, "original": version_of(storage, entry), "mime": "video/mp4"}
        return [ResolvedFile(name, None, source)]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """Convert the file on this machine's disk, unless an earlier attempt has."""
        folder = self._scratch / spec.id
        done = folder / f"done{_SUFFIX}"
        if not await asyncio.to_thread(done.exists):
            await remove_folder(folder)
            await asyncio.to_thread(folder.mkdir, parents=True)
            await self._copy_here(self._tools.storage(spec.storage), spec.links[0], folder, report)
            await self._convert(folder)
            await asyncio.to_thread((folder / f"out{_SUFFIX}").rename, done)
        status = await asyncio.to_thread(done.stat)
        made = {"made": status.st_mtime_ns, "file": str(done)}
        return replace(item, size=status.st_size, source=item.source | made)

    async def _copy_here(self, storage: Storage, path: str, folder: Path, report: Report) -> None:
        async with await storage.open(path) as reader:
            with await asyncio.to_thread((folder / "in").open, "wb") as file:
                received = 0
                async with aclosing(reader.read()) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
                        received += len(piece)
                        report(received, reader.size)
            if received != reader.size:
                raise Retryable("{path} has changed while it was read", path=path)

    async def _convert(self, folder: Path) -> None:
        program = find_program(self._program)
        if program is None:
            raise Permanent(missing(self._program))
        await run(
            [
                *(program, "-v", "error", "-nostdin", "-y", "-threads", "1"),
                *("-protocol_whitelist", "file", "-format_whitelist", SELF_CONTAINED_FORMATS),
                *("-i", "file:in", "-map", "0:v", "-map", "0:a?", "-map_metadata", "0", "-c", "copy"),
                *("-movflags", "+faststart", "-f", "mp4", f"file:out{_SUFFIX}"),
            ],
            folder=folder,
            guard=self._tools.guard,
            proxy=self._tools.config.proxy,
            on_line=lambda _: None,
        )
        await asyncio.to_thread((folder / "in").unlink)

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """Copy the converted file into the storage."""
        await disk.copy(Path(item.source["file"]), item.size or 0, write, have)

    async def forget(self, task_id: str) -> None:
        """Remove the folder in which ffmpeg ran."""
        await remove_folder(self._scratch / task_id)

    async def kept_tasks(self) -> list[str]:
        """Tasks that have a folder."""
        return await asyncio.to_thread(disk.names, self._scratch)


async def _head(storage: Storage, path: str, size: int) -> bytes:
    head = bytearray()
    async with await storage.open(path) as reader, aclosing(reader.read(0, size)) as pieces:
        async for piece in pieces:
            head += piece
    return bytes(head[:size])


def starts_at_once(head: bytes) -> bool:
    """Whether a file with this beginning is an MP4 whose index (`moov`) comes before its content (`mdat`)."""
    offset, is_mp4 = 0, False
    while offset + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, offset)
        if not is_mp4 and kind != b"ftyp":
            return False
        is_mp4 = True
        if kind in (b"moov", b"mdat"):
            return bool(kind == b"moov") and head[8:12] != b"qt  "
        if size == 1 and offset + 16 <= len(head):
            (size,) = struct.unpack_from(">Q", head, offset + 8)
        if size < 8:
            return False
        offset += size
    return False
