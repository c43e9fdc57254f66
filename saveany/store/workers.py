"""Workers: heartbeats, clean-up of canceled tasks, identities of storages, locks."""

from __future__ import annotations

import msgspec

from saveany.models import Item, ItemStatus, WorkerInfo
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder, text

#: Milliseconds after the last heartbeat until a worker is no longer listed.
SILENCE_MS = 15_000

_info = decoder(WorkerInfo)


class Workers:
    """Heartbeats, and the leftovers of canceled tasks."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def heartbeat(self, info: WorkerInfo) -> None:
        """List the worker for another `SILENCE_MS`."""
        await self._db.many(
            [
                ("SET", keys.WORKER(info.id), codec.encode(info), "PX", SILENCE_MS),
                ("SADD", keys.WORKERS(), info.id),
            ]
        )

    async def leave(self, worker: str) -> None:
        """Remove a worker from the list."""
        await self._db.many([("DEL", keys.WORKER(worker)), ("SREM", keys.WORKERS(), worker)])

    async def living(self) -> list[WorkerInfo]:
        """Workers with a heartbeat in the last `SILENCE_MS`, by id."""
        ids = sorted(text(member) for member in await self._db.do("SMEMBERS", keys.WORKERS()))
        raw = await self._db.many([("GET", keys.WORKER(i)) for i in ids]) if ids else []
        gone = [i for i, value in zip(ids, raw, strict=True) if not value]
        if gone:
            await self._db.do("SREM", keys.WORKERS(), *gone)
        named = ((i, value) for i, value in zip(ids, raw, strict=True) if value)
        return self._db.records.all("worker", named, _info)

    async def leftovers(self, storage: str, limit: int = 20) -> list[tuple[str, int]]:
        """Up to `limit` pairs (task id, epoch) of canceled tasks with uploads to discard on `storage`.
        Several workers may get the same pair, until one of them calls `cleaned`."""
        members = await self._db.do("SRANDMEMBER", keys.CLEANUP(storage), limit)
        return self._db.records.all("leftovers", ((m, m) for m in members or []), _leftover)

    async def clear_final_path(self, task_id: str, epoch: int, item: Item) -> bool:
        """Remove the final path from the record of a canceled task's item, before its file is deleted. False
        if the caller must not delete it: the task was retried, or another worker deletes it."""
        after = msgspec.structs.replace(
            item,
            status=ItemStatus.QUEUED,
            final="",
            url="",
            reference={},
            sha256="",
            undone=item.undone + 1,
        )
        args = (task_id, epoch, item.index, codec.encode(item), codec.encode(after))
        return bool(await self._db.script("clear_final_path", *args))

    async def cleaned(self, storage: str, task_id: str, epoch: int) -> None:
        """Record that no leftovers of that upload remain."""
        await self._db.do("SREM", keys.CLEANUP(storage), f"{task_id}:{epoch}")

    async def storage_identity(self, storage: str) -> str:
        """The id that the disk of `storage` must show; "" if no id was established."""
        known: bytes | None = await self._db.do("HGET", keys.STORAGES(), storage)
        return text(known or b"")

    async def establish_storage(self, storage: str, identity: str) -> str:
        """Record the id on the disk of `storage`, unless another worker recorded one first. Returns the valid
        id; a disk with a different one is not accepted from now on."""
        await self._db.do("HSETNX", keys.STORAGES(), storage, identity)
        return await self.storage_identity(storage)

    async def forget_storage(self, storage: str) -> None:
        """Forget the id of the disk of `storage`: the next disk that a worker sees becomes its disk."""
        await self._db.do("HDEL", keys.STORAGES(), storage)

    async def lock(self, name: str, ttl_ms: int) -> bool:
        """Take a lock that expires after `ttl_ms` and is never released. False if another process has it."""
        return bool(await self._db.do("SET", keys.LOCK(name), 1, "NX", "PX", ttl_ms))


def _leftover(member: bytes) -> tuple[str, int]:
    task_id, _, epoch = member.decode().rpartition(":")
    return task_id, int(epoch)
