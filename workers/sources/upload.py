"""Upload: a file that was uploaded to this machine moves into a storage."""

from __future__ import annotations

import hashlib
from contextlib import aclosing

from saveany.errors import Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.plan import ResolvedFile
from storages.base import Entry, Storage
from workers.sources.base import Report
from workers.sources.transfer import TransferSource, version_of


class UploadSource(TransferSource):
    """`upload`: one file of the storage with the uploads of a machine. It stays there until it is saved."""

    @property
    def is_concurrent(self) -> bool:
        """Small files do not wait for a slot."""
        return True

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """The file, with the properties that its uploader has stated."""
        storage, path = self._storage(spec.source_storage), spec.links[0]
        entry = await _uploaded(storage, path)
        stated = {name: spec.params[name] for name in spec.params if name in ("mime", "sha256", "sha1")}
        return [ResolvedFile(spec.params["name"], entry.size, {**version_of(storage, entry), **stated})]

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """The item, with the version that the file has."""
        entry = await _uploaded(self._storage(item.source["storage"]), item.source["path"])
        now = [entry.size, entry.modified_at]
        if spec.params.get("linked", now) != now:
            raise Permanent("the file has changed since it was uploaded; upload it again")
        return await super().prepare(item, spec, report)

    async def sha256(self, item: Item) -> str:
        """As it was computed during the upload, else of the file."""
        if known := item.source.get("sha256"):
            return str(known)
        digest = hashlib.sha256()
        storage, path = self._storage(item.source["storage"]), item.source["path"]
        async with await storage.open(path) as reader, aclosing(reader.read()) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    def moves(self, spec: TaskSpec) -> bool:
        """Always, unless the file is somebody's own: what was renamed would change with it."""
        return "linked" not in spec.params

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """Remove the uploaded file: its storage has confirmed that it has it."""
        await self._storage(item.source["storage"]).delete(item.source["path"])


async def _uploaded(storage: Storage, path: str) -> Entry:
    entry = await storage.stat(path)
    if entry is None:
        raise Permanent("the uploaded file does not exist any more; upload it again")
    return entry
