"""The face of the store: one object per role, the parts by what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

from saveany.errors import Unavailable
from saveany.logs import get_logger
from saveany.store.bot import BotMemory
from saveany.store.claims import Claims
from saveany.store.counters import Counters
from saveany.store.db import Db, connect
from saveany.store.events import Events
from saveany.store.history import History
from saveany.store.outbox import Outbox
from saveany.store.preferences import PreferencesStore
from saveany.store.progress_messages import ProgressMessages
from saveany.store.queries import StorageQueries
from saveany.store.records import text
from saveany.store.settings import RuntimeSettings
from saveany.store.tasks import Tasks
from saveany.store.telegram import TelegramStore
from saveany.store.watched_chats import WatchedChats
from saveany.store.workers import Workers

log = get_logger("saveany.store")


class Store:
    """The state of everything, in one Redis."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.tasks = Tasks(db)
        self.claims = Claims(db)
        self.history = History(db, self.tasks)
        self.events = Events(db)
        self.outbox = Outbox(db)
        self.workers = Workers(db)
        self.queries = StorageQueries(db)
        self.counters = Counters(db)
        self.settings = RuntimeSettings(db)
        self.preferences = PreferencesStore(db)
        self.bot = BotMemory(db)
        self.live = ProgressMessages(db)
        self.watched_chats = WatchedChats(db)
        self.telegram = TelegramStore(db)

    async def instance(self) -> str:
        """The random id of this installation: of everything that works on this store."""
        return await self.secret("instance", uuid4().hex)

    async def secret(self, name: str, fresh: str, is_good: Callable[[str], bool] = bool) -> str:
        """A secret all machines share: the one kept under `name`, else `fresh`, which is kept from now on. So
        it is in place of one that is damaged, which `is_good` tells."""
        kept = await self.db.script("secret", name, fresh, "")
        if not is_good(text(kept)):
            log.error("a secret in redis is damaged; a new one takes its place", name=name)
            kept = await self.db.script("secret", name, fresh, kept)
        return text(kept)


async def open_store(url: str) -> Store:
    """The store at `url`, checked (see `Db.check`); waits while no server answers there."""
    db = connect(url)
    while True:
        try:
            await db.check()
            return Store(db)
        except Unavailable as e:
            log.warning("waiting_for_redis", reason=e.message)
            await asyncio.sleep(1)
