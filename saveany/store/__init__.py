"""The store: tasks, events, webhooks and workers in one Redis.

`Store` has one attribute per subject. A change of several keys is one Lua script in `lua/`; `keys.py` lists
all keys.
"""

from saveany.models import WorkerInfo
from saveany.store.claims import Claim
from saveany.store.db import Db, connect
from saveany.store.events import Event
from saveany.store.results import (
    CancelResult,
    EraseResult,
    PauseResult,
    PrioritizeResult,
    ResumeResult,
    StopResult,
)
from saveany.store.settings import Limits
from saveany.store.store import Store, open_store
from saveany.store.tasks import Accepted

__all__ = [
    "Accepted",
    "CancelResult",
    "Claim",
    "Db",
    "EraseResult",
    "Event",
    "Limits",
    "PauseResult",
    "PrioritizeResult",
    "ResumeResult",
    "StopResult",
    "Store",
    "WorkerInfo",
    "connect",
    "open_store",
]
