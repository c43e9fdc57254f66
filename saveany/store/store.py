"""The face of the store: one object per role, the parts by what they are about."""

from __future__ import annotations

from saveany.store.claims import Claims
from saveany.store.db import PREFIX, Db
from saveany.store.events import Events
from saveany.store.history import History
from saveany.store.outbox import Outbox
from saveany.store.tasks import Tasks
from saveany.store.workers import Workers


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

    async def secret(self, name: str, fresh: str) -> str:
        """A secret all machines share: the one kept under `name`, else `fresh`, which is kept from now on."""
        await self.db.do("HSETNX", PREFIX + "meta", name, fresh)
        kept = await self.db.do("HGET", PREFIX + "meta", name)
        return str(kept.decode())
