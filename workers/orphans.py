"""Tasks that no worker can ever start, because no configuration has their storage or task type any more.

The only machine that knows a storage may be off for a while, so a lane is orphaned only after no worker has
known it for some minutes. Until then the field `waiting` of its tasks names what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from saveany.models import slot_lane
from saveany.sources import INBOX
from saveany.storage_set import lanes
from saveany.store import WorkerInfo


class OrphanedLanes:
    """Remembers since when each lane has been unknown to all workers."""

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A lane is orphaned after it has been unknown for `grace_seconds`."""
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._unknown_since: dict[str, float] = {}

    def update(self, ready: set[str], workers: Sequence[WorkerInfo]) -> list[str]:
        """The orphaned lanes among those with `ready` tasks. A lane that a worker knows but cannot use now is
        not orphaned."""
        now = self._clock()
        unknown = ready - known_lanes(workers) if workers else set()
        unknown = {lane for lane in unknown if not _is_of_machine(lane)}
        self._unknown_since = {lane: self._unknown_since.get(lane, now) for lane in unknown}
        return sorted(
            lane for lane, since in self._unknown_since.items() if now - since >= self._grace_seconds
        )


def _is_of_machine(lane: str) -> bool:
    """Whether the tasks of a lane wait for their machine, however long it is off: it alone has their
    files."""
    return lane.startswith((f"{INBOX}@", slot_lane(f"{INBOX}@")))


def known_lanes(workers: Sequence[WorkerInfo]) -> set[str]:
    """Every lane whose task type and storages are known to some worker, usable or not; not necessarily all
    to the same worker."""
    kinds = {kind for worker in workers for kind in worker.sources}
    storages = {name for worker in workers for name in worker.storages}
    known = lanes(kinds, storages)
    return {*known, *map(slot_lane, known)}
