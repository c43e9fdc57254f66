"""Lets the kernel send bytes of a file to a client (sendfile), which costs much less than our own copies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from saveany.descriptor import SharedDescriptor

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

T = TypeVar("T")


class DirectSocket:
    """The socket of a connection whose response has begun, and whose client has a while to read."""

    def __init__(
        self, transport: asyncio.Transport, cycle: RequestResponseCycle, fd: SharedDescriptor, seconds: float
    ) -> None:
        self._transport = transport
        self._cycle = cycle
        self._fd = fd
        self._seconds = seconds

    def lend(self, work: Callable[[int], T]) -> Callable[[], T]:
        """A function that runs `work` with the non-blocking socket, in any thread; to be called once."""
        return self._fd.lend(work)

    def sent(self, size: int) -> None:
        """Note that `size` bytes of the body were sent."""
        self._cycle.expected_content_length -= size

    async def wait(self) -> None:
        """Wait until the client has read some. One that reads nothing for too long is disconnected; then this
        waits until the response is canceled."""
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._fd.fd, writable.set)
        try:
            async with asyncio.timeout(self._seconds):
                await writable.wait()
        except TimeoutError:
            self._transport.abort()
            await asyncio.Event().wait()
        finally:
            loop.remove_writer(self._fd.fd)

    async def flushed(self) -> None:
        """Wait until what was written before is sent."""
        while self._transport.get_write_buffer_size():
            await self.wait()
            await asyncio.sleep(0)


@contextmanager
def direct_socket(
    transport: asyncio.Transport, cycle: RequestResponseCycle, seconds: float
) -> Iterator[DirectSocket | None]:
    """The socket of a response, within this context; None with TLS, or if the connection is lost."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") or transport.is_closing():
        yield None
        return
    # A descriptor of our own: the loop watches that of the transport already, and may close it meanwhile.
    fd = SharedDescriptor(os.dup(sock.fileno()))
    try:
        yield DirectSocket(transport, cycle, fd, seconds)
    finally:
        fd.release()
