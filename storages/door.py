"""Whether somebody is at home at a server: cheap questions, for `Storage.reach`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from saveany.errors import StorageUnavailable
from saveany.excerpt import excerpt
from saveany.net.dial import connect

#: Seconds in which a server that works accepts a connection, and in which it says something then.
KNOCK: Final = 3.0
ANSWER: Final = 2.0
#: A server that owes us an answer, and gave no sign of life for so many seconds, is asked for one.
_QUIET: Final = 1.0


class Pulse:
    """Requests that wait for a server, and when it last gave a sign of life."""

    def __init__(self) -> None:
        self._waiting = 0
        self._last = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A request, from its first byte to the last of its answer."""
        self._waiting += 1
        self.beat()
        try:
            yield
        finally:
            self._waiting -= 1
            self.beat()

    def beat(self) -> None:
        """The server has taken or sent something."""
        self._last = time.monotonic()

    @property
    def is_quiet(self) -> bool:
        """Whether an answer is due."""
        return self._waiting > 0 and time.monotonic() - self._last > _QUIET


def silent(name: str, where: str) -> StorageUnavailable:
    """What a server is that takes connections, and leaves it at that."""
    return StorageUnavailable(
        f"storage {name!r}: {where} accepts connections but does not answer; does the server hang?"
    )


async def knock(name: str, url: str) -> None:
    """Raise `StorageUnavailable` if nothing answers at the host and port of `url`. Sends no request."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return  # the next request says what is wrong with it
    await knock_at(name, host, port)


async def knock_at(name: str, host: str, port: int, *, greets: bool = False) -> None:
    """The same. With `greets`, the server is one that speaks first (SSH, FTP), and is waited for."""
    try:
        reader, writer = await connect(host, port, timeout=KNOCK)
    except OSError as error:
        why = "it does not answer" if isinstance(error, TimeoutError) else excerpt(str(error), 200)
        raise StorageUnavailable(f"storage {name!r}: {host}:{port} cannot be reached: {why}") from error
    try:
        if greets:
            await asyncio.wait_for(reader.read(1), ANSWER)
    except TimeoutError:
        raise silent(name, f"{host}:{port}") from None
    except OSError:
        pass  # it hangs up: too many connections, say; but it is there
    finally:
        writer.transport.abort()
