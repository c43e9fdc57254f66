"""Speed limits and byte counters, between a source and the transfer that takes its parts.

A limit holds for all workers together: each worker with running tasks gets an equal share. It keeps to it by
back-pressure: `write` returns only when the limit allows the part, so the source requests the next one later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from saveany.errors import Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.store import Limits, Store
from saveany.store.counters import FLOOD_WAIT_SECONDS, Counters
from saveany.texts import Text
from storages.base import Range, Storage
from workers import stall
from workers.sources.base import Growth, Report, Source, Write

#: Seconds between checks for a changed limit while waiting.
_CHECK_SECONDS = 0.25
#: Bytes that may be requested before the limit allows them.
_READ_AHEAD = 8 << 20
#: Time at which the current asyncio task could request its next part. A source runs several such tasks; a
#: new task inherits the value of the task that started it.
_free_since: ContextVar[float] = ContextVar("free_since")


class TokenBucket:
    """Allows `rate` bytes per second; 0 means no limit. `rate` may change while callers wait."""

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._taken = 0.0  # bytes so far
        self._allowed = 0.0  # bytes that were allowed so far, at most `_taken`: idle time earns no credit
        self._updated_at = time.monotonic()

    async def take(self, size: int) -> None:
        """Wait until `size` more bytes are allowed, in the order of the calls."""
        self._update()
        self._taken += size
        target = self._taken
        while True:
            missing = target - self._update()
            if missing <= 0:
                return
            await asyncio.sleep(min(_CHECK_SECONDS, missing / self.rate))

    def _update(self) -> float:
        """The number of bytes allowed until now."""
        now = time.monotonic()
        allowed = self._allowed + self.rate * (now - self._updated_at) if self.rate else self._taken
        self._allowed, self._updated_at = min(allowed, self._taken), now
        return self._allowed


class Throttle:
    """The share that one worker has of each limit now."""

    def __init__(self, store: Store, worker: str, configured: Limits) -> None:
        self._store = store
        self._worker = worker
        #: The limits of the configuration.
        self.configured = configured
        self._rate_per_user: float = configured.bytes_per_second_per_user
        self._total = TokenBucket(configured.bytes_per_second)
        self._users: dict[int, TokenBucket] = {}

    async def refresh(self) -> None:
        """Read the limits, and the number of workers that share each."""
        sharers = await self._store.settings.sharers(self._worker)
        limits = self.configured.with_changes(sharers.changed)
        self._rate_per_user = limits.bytes_per_second_per_user
        self._total.rate = limits.bytes_per_second / max(1, sharers.workers)
        self._users = {user: self._bucket(user) for user in sharers.by_user}
        for user, bucket in self._users.items():
            bucket.rate = self._rate_per_user / sharers.by_user[user]

    def rate(self, user: int, among: Sequence[int]) -> float:
        """Bytes per second for one download of `user`; 0 means no limit. `among` lists the user of every
        download that shares this worker's rate."""
        shares = self._total.rate / len(among), self._bucket(user).rate / among.count(user)
        return min(filter(None, shares), default=0.0)

    @property
    def read_ahead(self) -> int:
        """Bytes that may be requested and not yet received; 0 means no limit. Everything requested arrives,
        however low the limit is, and more than one second's worth would not make a download faster."""
        if self._rate_per_user:
            return max(1, len(self._users)) * max(_READ_AHEAD, int(self._rate_per_user))
        return max(_READ_AHEAD, int(self._total.rate)) if self._total.rate else 0

    async def take(self, user: int, size: int) -> None:
        """Wait until `size` more bytes of that user are allowed."""
        bucket = self._bucket(user)
        if self._total.rate or bucket.rate:
            await asyncio.gather(self._total.take(size), bucket.take(size))

    def _bucket(self, user: int) -> TokenBucket:
        return self._users.setdefault(user, TokenBucket(self._rate_per_user))


@dataclass(frozen=True, slots=True)
class ThrottledSource(Source):
    """A source for the tasks of one user: its parts are counted and slowed down to the limits."""

    source: Source
    throttle: Throttle
    counters: Counters
    user: int
    stall_seconds: float = stall.SECONDS  # after which a source that sends almost nothing is given up

    @property
    def problem(self) -> Text | None:
        """As the wrapped source."""
        return self.source.problem

    @property
    def drawback(self) -> Text | None:
        """As the wrapped source."""
        return self.source.drawback

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        """As the wrapped source."""
        with self._counting_waits():
            return await self.source.resolve(spec)

    @property
    def grows(self) -> bool:
        """As the wrapped source."""
        return self.source.grows

    def more(
        self, spec: TaskSpec, items: Sequence[Item], *, stopped: bool, growth: Growth
    ) -> AsyncGenerator[ResolvedFile, None]:
        """As the wrapped source."""
        return self.source.more(spec, items, stopped=stopped, growth=growth)

    def replaced(self, items: Sequence[Item]) -> list[Item]:
        """As the wrapped source."""
        return self.source.replaced(items)

    def is_optional(self, item: Item) -> bool:
        """As the wrapped source."""
        return self.source.is_optional(item)

    async def look_up(self, items: Sequence[Item], spec: TaskSpec) -> None:
        """As the wrapped source."""
        with self._counting_waits():
            await self.source.look_up(items, spec)

    async def prepare(self, item: Item, spec: TaskSpec, report: Report) -> Item:
        """As the wrapped source."""
        with self._counting_waits():
            return await self.source.prepare(item, spec, report)

    @property
    def read_ahead(self) -> int:
        """As the wrapped source."""
        return self.source.read_ahead

    @property
    def is_concurrent(self) -> bool:
        """As the wrapped source."""
        return self.source.is_concurrent

    def is_local(self, item: Item) -> bool:
        """As the wrapped source."""
        return self.source.is_local(item)

    def origin(self, item: Item) -> tuple[Storage, str] | None:
        """As the wrapped source."""
        return self.source.origin(item)

    def message(self, item: Item) -> Mapping[str, Any] | None:
        """As the wrapped source."""
        return self.source.message(item)

    def public_url(self, item: Item) -> str:
        """As the wrapped source."""
        return self.source.public_url(item)

    async def sha256(self, item: Item) -> str:
        """As the wrapped source."""
        return await self.source.sha256(item)

    def moves(self, spec: TaskSpec) -> bool:
        """As the wrapped source."""
        return self.source.moves(spec)

    async def remove(self, item: Item, spec: TaskSpec) -> None:
        """As the wrapped source."""
        await self.source.remove(item, spec)

    async def stop(self, task_id: str) -> None:
        """As the wrapped source."""
        await self.source.stop(task_id)

    async def forget(self, task_id: str) -> None:
        """As the wrapped source."""
        await self.source.forget(task_id)

    async def fetch(self, item: Item, write: Write, have: Sequence[Range] = ()) -> None:
        """As the wrapped source, at the speed that the limits allow. Raises `Retryable` if it stalls."""
        is_local = self.source.is_local(item)
        _free_since.set(time.monotonic())

        async def limited(offset: int, data: bytes | memoryview) -> None:
            self.counters.part(len(data), time.monotonic() - _free_since.get())
            with detector.receiving(len(data)):
                await write(offset, data)
                if not is_local:
                    await self.throttle.take(self.user, len(data))
            _free_since.set(time.monotonic())

        detector = stall.StallDetector(self.stall_seconds)
        with self._counting_waits():
            async with detector.watching():
                await self.source.fetch(item, limited, have)

    @contextmanager
    def _counting_waits(self) -> Iterator[None]:
        try:
            yield
        except Retryable as error:
            if error.after:
                self.counters.add(FLOOD_WAIT_SECONDS, error.after)
            raise
