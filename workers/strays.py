"""Tasks that no worker can ever begin: their storage, or their kind, has left every configuration.

One machine may be away for a while, with a storage that only its configuration names. So nothing is given up
before it was missing everywhere for some minutes; until then a task's `waiting` says what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from saveany.store import WorkerInfo


class Strays:
    """Remembers since when lanes are ones that no worker knows."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._since: dict[str, float] = {}

    def look(self, lanes: set[str], workers: Sequence[WorkerInfo]) -> list[str]:
        """Those of the lanes, in which tasks are ready, that no worker has known for long enough. What a
        worker knows but cannot use now is not among them."""
        now = self._clock()
        unknown = lanes - known_lanes(workers) if workers else set()
        self._since = {lane: self._since.get(lane, now) for lane in unknown}
        return sorted(lane for lane, since in self._since.items() if now - since >= self._patience)


def known_lanes(workers: Sequence[WorkerInfo]) -> set[str]:
    """Every lane whose kind and storages some worker knows: together or apart, usable or not."""
    kinds = {kind for worker in workers for kind in worker.sources}
    storages = {name for worker in workers for name in worker.storages}
    origins = {f"transfer@{name}" for name in storages} if "transfer" in kinds else set()
    return {f"{source}/{storage}" for source in kinds | origins for storage in storages}
