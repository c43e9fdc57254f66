"""Group commit: changes that wait at the same time are written together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Writes changes in the order in which they are added. At most one write is in flight; everything that is
    added meanwhile goes into the next one, so no timer delays a change."""

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[None]], compatible: Callable[[T, T], bool]
    ) -> None:
        """`write` writes several changes in one step, all of which are `compatible` with the first one."""
        self._write = write
        self._compatible = compatible
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, change: T) -> None:
        """Return when the change is written. Raises what its write raises.

        If the caller is canceled, the change is dropped unless its write has begun; `drain` waits for that.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((change, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def drain(self) -> None:
        """Wait until nothing is in flight. Errors are raised only to those who have added the changes."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])

    async def _write_all(self) -> None:
        while batch := self._next_batch():
            try:
                await self._write([change for change, _ in batch])
            except asyncio.CancelledError:
                for _, written in (*batch, *self._waiting):
                    written.cancel()
                raise
            except Exception as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)

    def _next_batch(self) -> list[tuple[T, asyncio.Future[None]]]:
        waiting = [(change, written) for change, written in self._waiting if not written.done()]
        end = next(
            (i for i, (change, _) in enumerate(waiting) if not self._compatible(waiting[0][0], change)),
            len(waiting),
        )
        self._waiting = waiting[end:]
        return waiting[:end]
