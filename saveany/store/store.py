"""`Store`: everything in Redis, one attribute per subject."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from saveany.logs import get_logger
from saveany.loops import wait_for_store
from saveany.store.api_processes import ApiProcesses
from saveany.store.archives import Archives
from saveany.store.bot import BotMemory
from saveany.store.claims import Claims
from saveany.store.counters import Counters
from saveany.store.db import Db, connect
from saveany.store.duplicates import DuplicateQueries
from saveany.store.events import Events
from saveany.store.inboxes import Inboxes
from saveany.store.link_queries import LinkQueries
from saveany.store.live import LiveWatches
from saveany.store.nonces import Nonces
from saveany.store.openings import Openings
from saveany.store.outbox import Outbox
from saveany.store.preferences import PreferencesStore
from saveany.store.progress_messages import ProgressMessages
from saveany.store.queries import StorageQueries
from saveany.store.recording import Recording
from saveany.store.records import text
from saveany.store.remote_uploads import RemoteUploads
from saveany.store.removals import Removals
from saveany.store.sessions import Sessions
from saveany.store.settings import RuntimeSettings
from saveany.store.stream_sessions import StreamSessions
from saveany.store.tasks import Tasks
from saveany.store.telegram import TelegramStore
from saveany.store.tickets import Tickets
from saveany.store.traffic import TrafficCounter
from saveany.store.workers import Workers

#: Seconds between two attempts to reach Redis at the start.
_POLL_SECONDS = 1.0

log = get_logger("saveany.store")


class Store:
    """The state of the installation in one Redis."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.tasks = Tasks(db)
        self.claims = Claims(db)
        self.recording = Recording(db)
        self.removals = Removals(db)
        self.events = Events(db)
        self.outbox = Outbox(db)
        self.workers = Workers(db)
        self.api_processes = ApiProcesses(db)
        self.queries = StorageQueries(db)
        self.duplicates = DuplicateQueries(db)
        self.link_queries = LinkQueries(db)
        self.counters = Counters(db)
        self.settings = RuntimeSettings(db)
        self.preferences = PreferencesStore(db)
        self.bot = BotMemory(db)
        self.openings = Openings(db)
        self.sessions = Sessions(db)
        self.nonces = Nonces(db)
        self.tickets = Tickets(db)
        self.remote_uploads = RemoteUploads(db)
        self.stream_sessions = StreamSessions(db)
        self.traffic = TrafficCounter(db)
        self.progress_messages = ProgressMessages(db)
        self.archives = Archives(db)
        self.live = LiveWatches(db)
        self.inboxes = Inboxes(db)
        self.telegram = TelegramStore(db)

    async def instance(self) -> str:
        """The random id of this installation, shared by all processes that use this store."""
        return await self.secret("instance", uuid4().hex)

    async def secret(self, name: str, new: str, is_valid: Callable[[str], bool] = bool) -> str:
        """The secret `name`, which all machines share. If none is stored, or `is_valid` rejects the stored
        one as damaged, `new` is stored and returned."""
        kept = await self.db.script("secret", name, new, "")
        if not is_valid(text(kept)):
            log.error("damaged_secret_replaced", name=name)
            kept = await self.db.script("secret", name, new, kept)
        return text(kept)


async def open_store(url: str) -> Store:
    """The store at `url`, after `Db.check`. Waits while the server is unreachable."""
    db = connect(url)
    await wait_for_store("open_store", db.check, _POLL_SECONDS)
    return Store(db)
