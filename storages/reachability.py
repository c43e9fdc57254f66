"""Whether a server can be reached: cheap checks for `Storage.reach`."""

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
from saveany.texts import Text

#: Seconds in which a working server accepts a connection, and in which it sends its first byte then.
CONNECT_TIMEOUT: Final = 3.0
REPLY_TIMEOUT: Final = 2.0
#: Seconds without any traffic after which a server with pending requests is checked.
_SILENCE_SECONDS: Final = 1.0


class ServerActivity:
    """The requests that wait for a server, and the last time it sent or accepted something."""

    def __init__(self) -> None:
        self._pending = 0
        self._last = 0.0  # monotonic

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request, from its first byte to the last byte of the reply."""
        self._pending += 1
        self.note()
        try:
            yield
        finally:
            self._pending -= 1
            self.note()

    def note(self) -> None:
        """The server has just sent or accepted something."""
        self._last = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether a reply is due, and nothing was sent for `_SILENCE_SECONDS`."""
        return self._pending > 0 and time.monotonic() - self._last > _SILENCE_SECONDS


def silent_server(name: str, address: str) -> StorageUnavailable:
    """The error for a server that accepts connections and sends nothing."""
    return StorageUnavailable(
        "storage {storage!r}: {address} accepts connections but does not reply; does the server hang?",
        storage=name,
        address=address,
    )


async def check_url(name: str, url: str) -> None:
    """Raise `StorageUnavailable` unless the host and port of a URL accept a connection. Sends no request."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return  # the next request reports what is wrong with the URL
    await check_port(name, host, port)


async def check_port(name: str, host: str, port: int, *, greets: bool = False) -> None:
    """Raise `StorageUnavailable` unless a port accepts a connection. With `greets`, wait for the first byte
    of a server that speaks first (SSH, FTP)."""
    try:
        reader, writer = await connect(host, port, timeout=CONNECT_TIMEOUT)
    except OSError as error:
        silent = isinstance(error, TimeoutError)
        reason = Text("it does not reply") if silent else Text(excerpt(str(error), 200))
        raise StorageUnavailable(
            "storage {storage!r}: {host}:{port} cannot be reached: {reason}",
            storage=name,
            host=host,
            port=port,
            reason=reason,
        ) from error
    try:
        if greets:
            await asyncio.wait_for(reader.read(1), REPLY_TIMEOUT)
    except TimeoutError:
        raise silent_server(name, f"{host}:{port}") from None
    except OSError:
        pass  # it closed the connection, perhaps because it has too many; but it is running
    finally:
        writer.transport.abort()
