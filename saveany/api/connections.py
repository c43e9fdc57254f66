"""The connections of the server, and limits on what each of them may cost.

A connection is untrusted until a request with the token has come over it. Untrusted connections have little
time and may send little, and the one that has been idle longest is closed if there are too many. So a client
that sends its request immediately gets a response, however many idle connections others keep open.

There are limits for the number of connections, the size of a request's head, the time for a head, for a body
and for reading a response, and the number of pipelined requests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import resource
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config as ServerConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from saveany.api.direct import DirectSocket, direct_socket
from saveany.api.errors import error_body, kind
from saveany.logs import get_logger
from saveany.net.addresses import network_of

#: Maximum size of the head of a request in bytes, and maximum number of headers. The longest parameters of
#: the API need 52 KiB when percent-encoded.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
#: Seconds for receiving the head of a request, for receiving its body, and for the client to read the
#: response.
HEAD_SECONDS = 10.0
BODY_SECONDS = 60.0
READ_SECONDS = 30.0
#: The same for a file that a player reads: it reads nothing while it is paused.
PAUSE_SECONDS = 600.0
#: Maximum number of pipelined requests waiting on a connection.
MAX_PIPELINED = 8
#: Maximum number of untrusted connections, in total and from one address.
MAX_UNTRUSTED = 512
MAX_UNTRUSTED_PER_ADDRESS = 256
#: File descriptors reserved for everything but connections. Every two connections of clients need one more,
#: for Redis.
RESERVED_DESCRIPTORS = 128
#: Seconds before a refused connection is closed; closed at once, it could lose the response.
_LINGER_SECONDS = 1.0
_MAX_LINGERING = 64
#: Bytes that are still read, and dropped, after the response to an untrusted client, so that it can send the
#: rest of a small request and read the response. Then reading stops: else the client could keep the API busy.
_MAX_DROPPED = 1024 * 1024
#: Maximum overhead of a chunked body in bytes per byte of content.
_PER_BODY_BYTE = 8
#: Seconds between two log lines about closed connections.
_LOG_SECONDS = 10.0

log = get_logger("saveany.api.connections")
#: Drops uvicorn's warnings about bad requests; `Connections.count_refusal` counts these requests instead.
_quiet = logging.getLogger("uvicorn.error.requests")
_quiet.setLevel(logging.ERROR)


def connection_limit(wanted: int) -> int:
    """The number of connections to allow: `wanted`, or fewer if the limit of file descriptors is too low.

    Raises the soft limit of this process as far as needed and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted * 3 // 2 + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = need if soft == resource.RLIM_INFINITY else soft
    return max(min(wanted, (room - RESERVED_DESCRIPTORS) * 2 // 3), 16)


class Connections(ServerState):
    """All connections of a server; uvicorn passes this object to each of them."""

    def __init__(self, limit: int, begin: Callable[[], None]) -> None:
        """`limit` is the maximum number of connections. `begin` is called when there is one after a time
        without any."""
        super().__init__()
        self._limit = limit
        self._begin = begin
        #: Address -> its untrusted connections; the first is the next to be closed.
        self._untrusted: dict[str, OrderedDict[HttpConnection, None]] = {}
        self._untrusted_count = 0
        self._lingering: OrderedDict[HttpConnection, None] = OrderedDict()
        self._refused: Counter[str] = Counter()  # reasons since the last log line
        self._logged = -math.inf

    @property
    def is_busy(self) -> bool:
        """Whether `sweep` has anything to do."""
        return bool(self.connections or self._refused)

    def add(self, connection: HttpConnection) -> None:
        """Add a new connection. If there are too many, close the untrusted one that has been idle longest."""
        if len(self.connections) == 1:
            self._begin()
        same_address = self._untrusted.setdefault(connection.address, OrderedDict())
        same_address[connection] = None
        self._untrusted_count += 1
        if len(same_address) > MAX_UNTRUSTED_PER_ADDRESS:
            next(iter(same_address)).refuse(
                429, "too many connections from this address; close some, or use the token"
            )
        elif self._untrusted_count > MAX_UNTRUSTED or len(self.connections) > self._limit:
            largest = max(self._untrusted.values(), key=len)
            next(iter(largest)).refuse(503, "the API has too many connections; try again in a moment")

    def mark_active(self, connection: HttpConnection) -> None:
        """Note that an untrusted connection has sent a request: idle ones are closed before it."""
        self._untrusted[connection.address].move_to_end(connection)

    def remove_untrusted(self, connection: HttpConnection) -> None:
        """Remove a connection from the untrusted ones, if it is one of them."""
        same_address = self._untrusted.get(connection.address)
        if same_address and connection in same_address:
            del same_address[connection]
            self._untrusted_count -= 1
        if not same_address:
            self._untrusted.pop(connection.address, None)

    def linger(self, connection: HttpConnection) -> None:
        """Keep a refused connection open for a moment; abort the oldest if there are too many of them."""
        connection.deadline = time.monotonic() + _LINGER_SECONDS
        self._lingering[connection] = None
        if len(self._lingering) > _MAX_LINGERING:
            self._lingering.popitem(last=False)[0].transport.abort()

    def drop(self, connection: HttpConnection, data: bytes) -> None:
        """Drop what an untrusted client sends after its response; stop reading if that is too much."""
        connection.dropped += len(data)
        if connection.dropped > _MAX_DROPPED and not connection.transport.is_closing():
            connection.transport.pause_reading()
            if not connection.refused:
                self.count_refusal("a client kept sending a body after the response")
                connection.refused = True
                self.remove_untrusted(connection)
                self.linger(connection)

    def remove(self, connection: HttpConnection) -> None:
        """Remove a closed connection."""
        self.remove_untrusted(connection)
        self._lingering.pop(connection, None)

    def count_refusal(self, reason: str) -> None:
        """Count a refusal for the next log line."""
        self._refused[reason] += 1

    def sweep(self) -> None:
        """Close connections whose deadline has passed, and log refusals. To be called about once a second."""
        now = time.monotonic()
        for connection in list(self.connections):
            if isinstance(connection, HttpConnection) and connection.deadline < now:
                connection.expire()
        if self._refused and now - self._logged >= _LOG_SECONDS:
            for reason, count in self._refused.items():
                log.warning("connections_closed", reason=reason, count=count, open=len(self.connections))
            self._refused.clear()
            self._logged = now


class _Patience:
    """How long the client of a request may take; a route may allow more than usual."""

    def __init__(self) -> None:
        self.read_seconds = READ_SECONDS
        self.is_upload = False  # whether the body may take as long as it makes progress

    def allow_pauses(self) -> None:
        """Let the client pause while it reads the response."""
        self.read_seconds = PAUSE_SECONDS

    def expect_upload(self) -> None:
        """Give the client `BODY_SECONDS` for each part of the body, not for all of it."""
        self.is_upload = True


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP connection, with time limits."""

    server_state: Connections
    address: str
    deadline: float  # monotonic time at which `expire` is due
    refused: bool  # an error was sent, and the connection is about to be closed
    dropped: int  # bytes received after the response that nobody needs

    def __init__(
        self,
        config: ServerConfig,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _quiet
        self._running: RequestResponseCycle | None = None  # the current request; `cycle` is the latest
        self._is_untrusted = True
        self.refused = False
        self._receiving = ""  # "head" or "body" of a request; "" between requests
        self._overhead = 0  # bytes received that are not content of a body
        self._unread = 0  # bytes that the client had not read at the last check
        self.dropped = 0
        self._patience = _Patience()  # with the latest request
        self._problem: tuple[int, str] | None = None  # of a request, found while parsing it
        self.deadline = time.monotonic() + HEAD_SECONDS

    # Life cycle.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Register the connection."""
        super().connection_made(transport)
        self.address = network_of(self.client[0] if self.client else "")
        self.server_state.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        super().connection_lost(exc)
        self.pipeline.clear()
        _mark_disconnected(self._running)
        self._unset_keepalive_if_required()
        self.server_state.remove(self)
        # These refer back to this connection; without the cycle it is freed at once.
        self._running = None
        self.scope = self.cycle = None  # type: ignore[assignment]  # as before the first request

    def trust(self) -> None:
        """Mark the connection as trusted: the token has come over it."""
        if self._is_untrusted:
            self._is_untrusted = False
            self.server_state.remove_untrusted(self)

    def expire(self) -> None:
        """Close the connection or extend its deadline; called when the deadline has passed."""
        now = time.monotonic()
        unread = self.transport.get_write_buffer_size()
        if 0 < unread < self._unread:
            self._unread, self.deadline = unread, now + self._patience.read_seconds  # the client reads slowly
        elif unread or self.refused or self.transport.is_closing():
            if not self.refused:
                self.server_state.count_refusal("a response was not read in time")
            self.transport.abort()
        elif _is_incomplete(self._running) and (self._receiving != "body" or self.flow.read_paused):
            self.deadline = now + HEAD_SECONDS  # the client waits for us
        elif self._running is not None and not self._receiving:
            self.transport.close()  # idle after a response
        else:
            self.refuse(408, f"the {self._receiving or 'head'} of the request was not received in time")

    def refuse(self, status: int, message: str) -> None:
        """Send an error and close the connection."""
        self.server_state.count_refusal(f"{status}: {message}")
        self.server_state.remove_untrusted(self)
        self._unset_keepalive_if_required()
        self.refused = True
        started = (
            _is_incomplete(self._running) and self._running is not None and self._running.response_started
        )
        self.pipeline.clear()
        _mark_disconnected(self._running)
        if started or self.transport.get_write_buffer_size():
            self.transport.abort()  # part of another response was sent, so an error cannot follow
            return
        self.transport.write(_refusal(status, message))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.server_state.linger(self)

    # Receiving.

    def data_received(self, data: bytes) -> None:
        """Parse received data; refuse a head that is too large."""
        if self.refused:
            self.server_state.drop(self, data)
            return
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_HEAD and not self.refused:
            self.refuse(*_TOO_LARGE)

    def eof_received(self) -> None:
        """Close a refused connection when the client has closed its side."""
        if self.refused:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Send the error that `_stop` has set, or that this is not HTTP."""
        if not self.refused:
            self.refuse(*(self._problem or (400, "this is not an HTTP request")))

    def on_message_begin(self) -> None:
        """Start the time for the head; for the first request it started with the connection."""
        super().on_message_begin()
        self._patience = _Patience()
        self.scope["state"] |= {
            "trust": self.trust,
            "allow_pauses": self._patience.allow_pauses,
            "expect_upload": self._patience.expect_upload,
            "direct": lambda: _direct(self),
        }
        self._receiving = "head"
        if self._running is not None:
            self.deadline = time.monotonic() + HEAD_SECONDS

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stop at the first header that is too many: a megabyte can hold 100,000 of them."""
        if len(self.headers) >= MAX_HEADERS:
            self._stop(*_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and start the time for the body."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._stop(*_TOO_LARGE)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(429, "too many pipelined requests; wait for the responses")
        self._receiving = "body"
        self._overhead = 0
        self.deadline = time.monotonic() + BODY_SECONDS
        if self._is_untrusted:
            self.server_state.mark_active(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Do not count content of the body as overhead."""
        self._overhead = max(0, self._overhead - _PER_BODY_BYTE * len(body))
        super().on_body(body)
        if self._patience.is_upload:
            self.deadline = time.monotonic() + BODY_SECONDS
        if self._is_untrusted and not _is_incomplete(self._running):
            self.server_state.drop(self, body)

    def on_message_complete(self) -> None:
        """Stop the time limit while the request is processed."""
        self._receiving = ""
        self.deadline = _NEVER if _is_incomplete(self._running) else time.monotonic() + HEAD_SECONDS
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _stop(self, status: int, message: str) -> None:
        self._problem = status, message
        raise ValueError(message)  # ends the parser, which calls `send_400_response`

    # Sending.

    def on_response_complete(self) -> None:
        """Start the time for reading the response, and then for the next request."""
        self._overhead = 0
        self._wait_for_reader(HEAD_SECONDS)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the time for reading: the client does not read."""
        super().pause_writing()
        self._wait_for_reader(self._patience.read_seconds)

    def resume_writing(self) -> None:
        """Reset the deadline: the client reads again."""
        super().resume_writing()
        self._wait_for_reader(_NEVER if _is_incomplete(self._running) else HEAD_SECONDS)

    def _wait_for_reader(self, otherwise: float) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self.deadline = time.monotonic() + (self._patience.read_seconds if self._unread else otherwise)


_NEVER = float("inf")
_TOO_LARGE = 431, f"the head of the request is larger than {MAX_HEAD // 1024} KiB, or has too many headers"


def _is_incomplete(cycle: RequestResponseCycle | None) -> bool:
    return cycle is not None and not cycle.response_complete


def _direct(connection: HttpConnection) -> AbstractContextManager[DirectSocket | None]:
    """The socket, to which the kernel may send the body of the response that has begun."""
    cycle = connection._running
    if cycle is None:
        return nullcontext()
    return direct_socket(connection.transport, cycle, connection._patience.read_seconds)


def _mark_disconnected(cycle: RequestResponseCycle | None) -> None:
    """Let the application know that the client of a request is gone, unless the response is complete."""
    if cycle is not None and _is_incomplete(cycle):
        cycle.disconnected = True
        cycle.message_event.set()


@cache
def _refusal(status: int, message: str) -> bytes:
    body = json.dumps(error_body(status, kind(status), message)).encode()
    retry = b"retry-after: 1\r\n" if status in (429, 503) else b""
    return b"".join(
        (
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            retry,
            b"connection: close\r\n\r\n",
            body,
        )
    )
