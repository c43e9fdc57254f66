"""The connections of the server, and what each of them may cost.

Nobody has shown a token when a connection begins. Until then it is a stranger's: it has little time, may send
little, and must make room when there are too many. The oldest one goes first, so whoever comes and asks at
once gets an answer, however many others sit there. A connection over which the token came is trusted.

Everything here is bounded: the number of connections, the bytes and the time of a request's head, the time of
its body, the requests that wait behind one another, and the time an answer may lie unread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import time
from collections import Counter, OrderedDict
from functools import cache
from ipaddress import ip_address
from typing import Any

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from saveany.api.errors import error_body, kind
from saveany.logs import get_logger

#: Bytes of the head of a request, and how many headers it may have. The longest parameters of the API, when
#: percent-encoded, need 52 KiB.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
#: Seconds for the head of a request, for its body, and for an answer to be read.
HEAD_SECONDS = 10.0
BODY_SECONDS = 60.0
READ_SECONDS = 30.0
#: Requests that may wait on a connection while one is answered.
MAX_PIPELINED = 8
#: Connections of strangers: in all, and from one address.
MAX_STRANGERS = 512
MAX_STRANGERS_PER_ADDRESS = 256
#: Descriptors that are left to everything else: files, the log. For every two connections of clients there is
#: one for Redis as well.
RESERVED_DESCRIPTORS = 128
#: A connection that was refused stays for so long: closed at once, it would lose the answer on its way.
_LINGER_SECONDS = 1.0
_MAX_LINGERING = 64
#: Overhead of a chunk of a body, at most: its size, two line ends, and the end of the body.
_PER_BODY_BYTE = 8
_LOG_SECONDS = 10.0

log = get_logger("saveany.api.connections")
#: uvicorn's own words about a request are for those who made it; here, `Connections.note` counts them.
_quiet = logging.getLogger("uvicorn.error.requests")
_quiet.setLevel(logging.ERROR)


def most_connections(wanted: int) -> int:
    """As many connections as are `wanted`, or as the limit of descriptors of this process has room for; it is
    raised as far as that may be needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted * 3 // 2 + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = need if soft == resource.RLIM_INFINITY else soft
    return max(min(wanted, (room - RESERVED_DESCRIPTORS) * 2 // 3), 16)


class Connections(ServerState):
    """All connections of a server, as uvicorn hands them to each of its protocols."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._strangers: dict[
            str, OrderedDict[HttpConnection, None]
        ] = {}  # by address; the next to go comes first
        self._stranger_count = 0
        self._lingering: OrderedDict[HttpConnection, None] = OrderedDict()
        self._refused: Counter[str] = Counter()  # why, since the last line of the log
        self._logged = 0.0

    def enter(self, connection: HttpConnection) -> None:
        """A connection was made. Makes room for it, or refuses it."""
        mine = self._strangers.setdefault(connection.address, OrderedDict())
        mine[connection] = None
        self._stranger_count += 1
        if len(mine) > MAX_STRANGERS_PER_ADDRESS:
            next(iter(mine)).refuse(
                429, "too many connections from this address; close some, or use the token"
            )
        elif self._stranger_count > MAX_STRANGERS or len(self.connections) > self._most:
            most = max(self._strangers.values(), key=len)
            next(iter(most)).refuse(503, "the API has too many connections; try again in a moment")

    def renew(self, connection: HttpConnection) -> None:
        """A stranger has asked something: others go before it."""
        self._strangers[connection.address].move_to_end(connection)

    def leave(self, connection: HttpConnection) -> None:
        """A connection is no stranger's any more, or is gone. It may have left before."""
        mine = self._strangers.get(connection.address)
        if mine and connection in mine:
            del mine[connection]
            self._stranger_count -= 1
        if not mine:
            self._strangers.pop(connection.address, None)

    def linger(self, connection: HttpConnection) -> None:
        """A refused connection stays a moment; too many of them do not."""
        self._lingering[connection] = None
        if len(self._lingering) > _MAX_LINGERING:
            self._lingering.popitem(last=False)[0].abort()

    def gone(self, connection: HttpConnection) -> None:
        """A connection has ended."""
        self.leave(connection)
        self._lingering.pop(connection, None)

    def note(self, reason: str) -> None:
        """Have the log tell of a refusal, with others like it."""
        self._refused[reason] += 1

    def sweep(self) -> None:
        """End what took too long; call it about once a second."""
        now = time.monotonic()
        for connection in list(self.connections):
            if isinstance(connection, HttpConnection) and connection.deadline < now:
                connection.expire()
        if self._refused and now - self._logged >= _LOG_SECONDS:
            for reason, count in self._refused.items():
                log.warning("connections were ended", reason=reason, count=count, open=len(self.connections))
            self._refused.clear()
            self._logged = now


class HttpConnection(HttpToolsProtocol):
    """One connection: uvicorn's, with an end to everything."""

    server_state: Connections
    address: str
    deadline: float  # when `expire` is due; what it then means, the state tells

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _quiet
        self._running: RequestResponseCycle | None = None  # whose answer is being made; `cycle` is the newest
        self._stranger = True
        self._refused = False
        self._comes = ""  # what is being received: the "head" or the "body" of a request, or nothing
        self._overhead = 0  # bytes of it that are not its body
        self._unread = 0  # bytes of answers that the client had not read when that was last looked at
        self._problem: tuple[int, str] | None = None  # found inside the parser
        self.deadline = time.monotonic() + HEAD_SECONDS

    # Its life.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Find room for it."""
        super().connection_made(transport)
        self.address = _address(self.client[0] if self.client else "")
        self.server_state.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._disconnect()
        self._unset_keepalive_if_required()
        self.server_state.gone(self)
        # These refer to this connection in their turn: it must not wait for the garbage collector.
        self._running = None
        self.scope = self.cycle = None  # type: ignore[assignment]  # as before the first request

    def trust(self) -> None:
        """The token came over it."""
        if self._stranger:
            self._stranger = False
            self.server_state.leave(self)

    @property
    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def expire(self) -> None:
        """The deadline has passed."""
        now = time.monotonic()
        unread = self.transport.get_write_buffer_size()
        if 0 < unread < self._unread:
            self._unread, self.deadline = unread, now + READ_SECONDS  # slowly, but it is being read
        elif unread or self._refused or self.transport.is_closing():
            if not self._refused:
                self.server_state.note("an answer was not read in time")
            self.abort()
        elif self._answering and self._comes != "body":
            self.deadline = now + HEAD_SECONDS  # it waits for us
        elif self._running is not None and not self._comes:
            self.transport.close()  # it had its answer
        else:
            self.refuse(408, f"the {self._comes or 'head'} of the request did not come in time")

    def refuse(self, status: int, message: str) -> None:
        """Say no, and end it."""
        self.server_state.note(f"{status}: {message}")
        self.server_state.leave(self)
        self._unset_keepalive_if_required()
        self._refused = True
        amid = self._answering and self._running is not None and self._running.response_started
        self._disconnect()
        if amid or self.transport.get_write_buffer_size():
            self.abort()  # in the middle of another answer there is no place for this one
            return
        self.transport.write(_refusal(status, message))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.deadline = time.monotonic() + _LINGER_SECONDS
        self.server_state.linger(self)

    def _disconnect(self) -> None:
        """Have the application know that nobody waits for its answer, whichever of several it makes."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()

    # What comes in.

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much."""
        if self._refused:
            return
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_HEAD and not self._refused:
            self.refuse(*_TOO_LARGE)

    def eof_received(self) -> None:
        """The client will send nothing more."""
        if self._refused:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """The parser has stopped: at something of ours, or at what is no HTTP."""
        if not self._refused:
            self.refuse(*(self._problem or (400, "this is not an HTTP request")))

    def on_message_begin(self) -> None:
        """The first byte of a request. The time for the first one has begun with the connection."""
        super().on_message_begin()
        self.scope["state"]["trust"] = self.trust
        self._comes = "head"
        if self._running is not None:
            self.deadline = time.monotonic() + HEAD_SECONDS

    def on_headers_complete(self) -> None:
        """The end of the head."""
        head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > MAX_HEADERS or head > MAX_HEAD:
            self._stop(*_TOO_LARGE)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(429, "too many requests at once on one connection; wait for the answers")
        self._comes = "body"
        self._overhead = 0
        self.deadline = time.monotonic() + BODY_SECONDS
        if self._stranger:
            self.server_state.renew(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._overhead = max(0, self._overhead - _PER_BODY_BYTE * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request: from now on the time is ours."""
        self._comes = ""
        self.deadline = _NEVER if self._answering else time.monotonic() + HEAD_SECONDS
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _stop(self, status: int, message: str) -> None:
        self._problem = status, message
        raise ValueError(message)  # ends the parser, which calls `send_400_response`

    # What goes out.

    def on_response_complete(self) -> None:
        """An answer was given; the client must read it, and ask again or go."""
        self._overhead = 0
        self._wait_for_reader(HEAD_SECONDS)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._wait_for_reader(READ_SECONDS)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._wait_for_reader(_NEVER if self._answering else HEAD_SECONDS)

    def _wait_for_reader(self, otherwise: float) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self.deadline = time.monotonic() + (READ_SECONDS if self._unread else otherwise)


_NEVER = float("inf")
_TOO_LARGE = 431, f"the head of the request is larger than {MAX_HEAD // 1024} KiB, or has too many headers"


def _address(host: str) -> str:
    """Who is counted as one: of IPv6 a whole network, which one customer has."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else address.packed[:8].hex()


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
