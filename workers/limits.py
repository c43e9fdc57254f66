"""Speed limits, and counting what passes: both sit between a source and whoever takes its parts.

A limit holds for all workers together. Each takes its share, the limit divided by the number of workers
that have running tasks, and keeps to it by back-pressure: `write` returns only when there was time for the
part, so the source asks for the next one later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from saveany.errors import Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.store import Limits, Store
from saveany.store.counters import FLOOD_WAIT_SECONDS, Counters
from storages.base import Range, Storage
from workers import stall
from workers.sources.base import Report, Source, Write

#: Who waits looks so often whether the limit has changed, in seconds.
_PATIENCE = 0.25
#: With a limit, so many bytes are asked for before their turn.
_AHEAD = 8 << 20
#: Since when the task that fetches parts here, one after the other, could ask for the next one. A source runs
#: several of them; one that is started by another begins with the other's value.
_free_since: ContextVar[float] = ContextVar("free_since")


class TokenBucket:
    """Lets so many bytes per second pass, 0 for any number. `rate` may change while others wait."""

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._taken = 0.0  # bytes so far …
        self._allowed = 0.0  # … and how many might have been, never more: a pause is not made up for
        self._at = time.monotonic()

    async def take(self, size: int) -> None:
        """Return when there was time for `size` more bytes, after those that were taken before."""
        self._catch_up()
        self._taken += size
        mark = self._taken
        while True:
            missing = mark - self._catch_up()
            if missing <= 0:
                return
            await asyncio.sleep(min(_PATIENCE, missing / self.rate))

    def _catch_up(self) -> float:
        now = time.monotonic()
        due = self._allowed + self.rate * (now - self._at) if self.rate else self._taken
        self._allowed, self._at = min(due, self._taken), now
        return self._allowed


class Throttle:
    """The limits as they are for one worker now."""

    def __init__(self, store: Store, worker: str, configured: Limits) -> None:
        self._store = store
        self._worker = worker
        self._configured = configured
        self._share: float = configured.bytes_per_second_per_user
        self._all = TokenBucket(configured.bytes_per_second)
        self._users: dict[int, TokenBucket] = {}

    async def refresh(self) -> None:
        """Look at the limits, and among how many workers they are divided."""
        sharers = await self._store.settings.sharers(self._worker)
        limits = self._configured.but(sharers.changed)
        self._share = limits.bytes_per_second_per_user
        self._all.rate = limits.bytes_per_second / max(1, sharers.workers)
        self._users = {user: self._bucket(user) for user in sharers.by_user}
        for user, bucket in self._users.items():
            bucket.rate = self._share / sharers.by_user[user]

    def rate(self, user: int, among: Sequence[int]) -> float:
        """How many bytes per second a download of that user may have, which is one of several of these users
        that share what there is; 0 for any number."""
        shares = self._all.rate / len(among), self._bucket(user).rate / among.count(user)
        return min(filter(None, shares), default=0.0)

    @property
    def ahead(self) -> int:
        """How many bytes may be on their way here, 0 for any number: what was asked for comes, and passes,
        however low the limit is. More than pass in a second help nobody."""
        if self._share:
            return max(1, len(self._users)) * max(_AHEAD, int(self._share))
        return max(_AHEAD, int(self._all.rate)) if self._all.rate else 0

    async def take(self, user: int, size: int) -> None:
        """Return when there was time for so many bytes of that user."""
        bucket = self._bucket(user)
        if self._all.rate or bucket.rate:
            await asyncio.gather(self._all.take(size), bucket.take(size))

    def _bucket(self, user: int) -> TokenBucket:
        return self._users.setdefault(user, TokenBucket(self._share))


@dataclass(frozen=True, slots=True)
class ThrottledSource(Source):
    """A source whose parts are counted and held back, for the tasks of one user."""

    source: Source
    throttle: Throttle
    counters: Counters
    user: int
    patience: float = stall.SECONDS  # for a source that sends next to nothing

    @property
    def problem(self) -> str:
        """As the source has it."""
        return self.source.problem

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """As the source does."""
        with self._counting_waits():
            return await self.source.resolve(spec)

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As the source does."""
        with self._counting_waits():
            return await self.source.prepare(item, spec, report)

    @property
    def ahead(self) -> int:
        """As the source does."""
        return self.source.ahead

    @property
    def is_local(self) -> bool:
        """As the source has it."""
        return self.source.is_local

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """As the source has it."""
        return self.source.origin(item)

    def address(self, item: Item) -> str:
        """As the source has it."""
        return self.source.address(item)

    def moves(self, spec: TaskSpec) -> bool:
        """As the source has it."""
        return self.source.moves(spec)

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """As the source does."""
        await self.source.remove(item, spec)

    async def rest(self, task_id: str) -> None:
        """As the source does."""
        await self.source.rest(task_id)

    async def forget(self, task_id: str) -> None:
        """As the source does."""
        await self.source.forget(task_id)

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As the source does, at the speed that is allowed."""
        _free_since.set(time.monotonic())

        async def watched(offset: int, data: bytes | memoryview) -> None:
            self.counters.part(len(data), time.monotonic() - _free_since.get())
            with watch.taking(len(data)):
                await write(offset, data)
                if not self.source.is_local:
                    await self.throttle.take(self.user, len(data))
            _free_since.set(time.monotonic())

        watch = stall.StallDetector(self.patience)
        with self._counting_waits():
            async with watch.watching():
                await self.source.fetch(item, watched, have)

    @contextmanager
    def _counting_waits(self) -> Iterator[None]:
        try:
            yield
        except Retryable as error:
            if error.after:
                self.counters.add(FLOOD_WAIT_SECONDS, error.after)
            raise
