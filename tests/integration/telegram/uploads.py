"""Files for the tests of uploads, and storages that send them to chats of the sandbox."""

from __future__ import annotations

import random
from collections.abc import Callable

from saveany.sandbox.world import Chat, StoredMessage
from saveany.telegram.pool import PoolLimits
from storages.base import Receipt, UploadKey
from storages.telegram.storage import TelegramStorage

MIB = 1 << 20


SMALL, BIG = random.Random(1).randbytes(700_001), random.Random(2).randbytes(21 * MIB + 7)


LIMITS = PoolLimits(part_seconds=15.0, idle_seconds=0.1, max_flood_seconds=3.0, max_tries=5)


Open = Callable[..., TelegramStorage]


def key(epoch: int = 1, item: int = 0) -> UploadKey:
    return UploadKey("task", item, epoch)


async def save(storage: TelegramStorage, path: str, data: bytes, owner: UploadKey | None = None) -> Receipt:
    async with await storage.begin(owner or key(), path, len(data)) as upload:
        for offset in range(0, len(data), MIB):
            await upload.write(offset, data[offset : offset + MIB])
        return await upload.commit(path, len(data), replace=False)


def sent(chat: Chat) -> list[StoredMessage]:
    return [message for message in reversed(chat.newest_first()) if not message.service]


def content(message: StoredMessage) -> bytes:
    assert message.file
    return message.file.content.read(0, message.file.content.size)
