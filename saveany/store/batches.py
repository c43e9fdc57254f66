"""Commands to Redis that wait at the same time share a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

#: Seconds after which waiting commands are sent although the last batch has no reply yet: its connection may
#: be broken, or it holds a slow command.
_PATIENCE = 0.1

_Command = tuple[Any, ...]


class CommandBatches:
    """Sends commands in the order in which they are added. Those that are added in one step of the event
    loop, or while a batch is in flight, are one batch, so there is no timer that delays a command."""

    def __init__(self, send: Callable[[Sequence[_Command]], Awaitable[Sequence[Any]]]) -> None:
        """`send` returns the reply to each command, which may be an exception, or raises one for all."""
        self._send = send
        self._waiting: list[tuple[_Command, asyncio.Future[Any]]] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    async def run(self, command: _Command) -> Any:
        """The reply to one command. If the caller is canceled before it was sent, it is not sent."""
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        self._waiting.append((command, reply))
        if self._timer is None:
            flush = self._flush
            self._timer = loop.call_later(_PATIENCE, flush) if self._in_flight else loop.call_soon(flush)
        return await reply

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = [(command, reply) for command, reply in self._waiting if not reply.done()]
        self._waiting = []
        if batch:
            task = asyncio.create_task(self._exchange(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not self._in_flight and self._waiting:
            self._flush()

    async def _exchange(self, batch: Sequence[tuple[_Command, asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._send([command for command, _ in batch])
        except asyncio.CancelledError:
            for _, reply in batch:
                reply.cancel()
            raise
        except Exception as error:
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():  # its caller was canceled
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
