"""Workers as the others see them: who lives, what it can run, what it is doing, what it must clean up."""

from __future__ import annotations

import msgspec

from saveany.models import Item, ItemStatus
from saveany.store import codec, keys
from saveany.store.db import Db
from saveany.store.records import decoder, text

#: A worker that was silent for longer is not listed any more.
SILENCE_MS = 15_000


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself with each heartbeat."""

    id: str
    host: str
    pid: int
    started_at: int
    tasks: list[str] = msgspec.field(default_factory=list)
    #: how many tasks it can run at a time; 0 if it does not say
    slots: int = 0
    #: storage name -> "" if it is usable there, else what is wrong
    storages: dict[str, str] = msgspec.field(default_factory=dict)
    #: storage name -> what it can do, by the names of `storages.base.Capabilities`
    capabilities: dict[str, dict[str, bool]] = msgspec.field(default_factory=dict)
    #: kind of task -> "" if it can be done there, else what is wrong
    sources: dict[str, str] = msgspec.field(default_factory=dict)
    #: Telegram account name -> "" if it is logged in, else what is wrong
    accounts: dict[str, str] = msgspec.field(default_factory=dict)


_info = decoder(WorkerInfo)


class Workers:
    """Heartbeats, and requests to clean up what canceled tasks left on a storage."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def beat(self, info: WorkerInfo) -> None:
        """Be listed for another while."""
        await self._db.many(
            [
                ("SET", keys.WORKER(info.id), codec.encode(info), "PX", SILENCE_MS),
                ("SADD", keys.WORKERS(), info.id),
            ]
        )

    async def leave(self, worker: str) -> None:
        """Be listed no more."""
        await self._db.many([("DEL", keys.WORKER(worker)), ("SREM", keys.WORKERS(), worker)])

    async def living(self) -> list[WorkerInfo]:
        """All workers that were heard of lately, by id."""
        ids = sorted(text(member) for member in await self._db.do("SMEMBERS", keys.WORKERS()))
        raw = await self._db.many([("GET", keys.WORKER(i)) for i in ids]) if ids else []
        gone = [i for i, value in zip(ids, raw, strict=True) if not value]
        if gone:
            await self._db.do("SREM", keys.WORKERS(), *gone)
        named = ((i, value) for i, value in zip(ids, raw, strict=True) if value)
        return self._db.records.all("worker", named, _info)

    async def remains(self, storage: str, limit: int = 20) -> list[tuple[str, int]]:
        """Some (task id, epoch) of canceled tasks whose uploads on `storage` must be discarded. Several
        workers may be given the same ones, again and again until they are `cleaned`."""
        members = await self._db.do("SRANDMEMBER", keys.CLEANUP(storage), limit)
        return self._db.records.all("remains", ((m, m) for m in members or []), _remains)

    async def disown(self, task_id: str, epoch: int, item: Item) -> bool:
        """Take the final name off an item of a canceled task, because its file will be deleted. False if that
        is not ours to do: the task was retried, or somebody else does it."""
        after = msgspec.structs.replace(
            item, status=ItemStatus.QUEUED, final="", sha256="", undone=item.undone + 1
        )
        args = (task_id, epoch, item.index, codec.encode(item), codec.encode(after))
        return bool(await self._db.script("disown", *args))

    async def cleaned(self, storage: str, task_id: str, epoch: int) -> None:
        """Nothing of that upload is left."""
        await self._db.do("SREM", keys.CLEANUP(storage), f"{task_id}:{epoch}")

    async def storage_identity(self, storage: str) -> str:
        """The id that the disk of `storage` must show; "" if none was established."""
        known: bytes | None = await self._db.do("HGET", keys.STORAGES(), storage)
        return text(known or b"")

    async def establish_storage(self, storage: str, identity: str) -> str:
        """A disk shows this id as that of `storage`: a disk without it is another one from now on, unless
        somebody was faster. Returns the id that counts."""
        await self._db.do("HSETNX", keys.STORAGES(), storage, identity)
        return await self.storage_identity(storage)

    async def lock(self, name: str, ttl_ms: int) -> bool:
        """Take a lock that nobody gives back: it ends by itself after `ttl_ms`. False if another has it."""
        return bool(await self._db.do("SET", keys.LOCK(name), 1, "NX", "PX", ttl_ms))


def _remains(member: bytes) -> tuple[str, int]:
    task_id, _, epoch = member.decode().rpartition(":")
    return task_id, int(epoch)
