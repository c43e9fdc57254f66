"""One connection of a client: packets in, messages out (https://core.telegram.org/mtproto/description)."""

import asyncio
import logging
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from telethon.tl import functions as fn
from telethon.tl import types as tl
from telethon.tl.core import GzipPacked, MessageContainer

from saveany.sandbox import envelope, handlers, transport
from saveany.sandbox.calls import Call, method_name
from saveany.sandbox.errors import ProtocolError, RpcFailure
from saveany.sandbox.faults import Outcome
from saveany.sandbox.handlers.files import FilePart
from saveany.sandbox.handshake import Handshake, plain_message
from saveany.sandbox.key_store import StoredKey

if TYPE_CHECKING:
    from saveany.sandbox.server import DataCenter

log = logging.getLogger(__name__)

UNKNOWN_KEY = struct.pack("<i", -404)  # all that a client hears whose key nobody knows
WRITE_BUFFER = 4 << 20  # bytes that may wait for a slow client before its next request is read
_SMALLEST = 24  # bytes of a packet: key id, message key
_LONGEST_IN_CONTAINER = 64 << 10  # bytes; what is longer is sent by itself
_CONTAINER = struct.Struct("<Ii")  # constructor, how many
_INNER = struct.Struct("<qii")  # message id, sequence number, length
_SALT_LIFE = 1800  # seconds
_RPC_RESULT = struct.Struct("<Iq")
_RPC_RESULT_ID, _VECTOR_ID = 0xF35C6D01, 0x1CB5C415
_TRUE, _FALSE = struct.pack("<I", 0x997275B5), struct.pack("<I", 0xBC799737)
_GZIP_FROM = 512  # bytes
_OLDEST, _NEWEST = -300, 30  # seconds around the server's clock in which a message id must lie
_NO_ANSWER = (tl.MsgsAck, tl.MsgsStateReq, tl.MsgsAllInfo, tl.MsgResendReq)
_PINGS = (fn.PingRequest, fn.PingDelayDisconnectRequest)
#: What a push is called in counters and faults.
PUSH = "updates"

Body = tuple[bytes, ...]
Answer = Body | asyncio.Future[Body]


class ClientConnection:
    """Serves one client until it goes away; `number` counts the connections of a sandbox from 1."""

    def __init__(
        self, center: "DataCenter", number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.center = center
        self.number = number
        self._shared = center.shared
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._host = str((writer.get_extra_info("peername") or ("gone already",))[0])
        self._handshake = Handshake(center.rsa, center.id, lambda key: self._shared.vault.add(key, center.id))
        self.key: StoredKey | None = None
        self.listens = False
        self._pending: set[asyncio.Future[Body]] = set()
        self._session = 0
        self._announced = False  # the client knows that its session is a new one
        self._newest = 0  # the id of the client's last message
        self._sequence = 0  # how many of our messages wanted an acknowledgement
        self._waiting: list[_Message] | None = None  # answers to one packet, to be sent together
        self._last_id = 0
        self._silent = False
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    async def run(self) -> None:
        """Serve until the client leaves or breaks the protocol."""
        self._shared.news.join(self)
        try:
            self._transport = await transport.accept(self._reader)
            while True:
                self._receive(await self._transport.read())
                await self._writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        except ProtocolError as broken:
            log.info("connection %d closed: %s", self.number, broken)
        except Exception:
            log.exception("connection %d closed by a mistake of ours", self.number)
        finally:
            self._shared.news.leave(self)
            self._use(None)
            for answer in list(self._pending):
                answer.cancel()
            self._writer.transport.abort()

    def drop(self) -> None:
        """Close it at once, whatever is on its way."""
        self._writer.transport.abort()

    # -- in

    def _receive(self, packet: bytes) -> None:
        if len(packet) < _SMALLEST:
            raise ProtocolError(f"a packet of {len(packet)} bytes")
        if packet[:8] == bytes(8):
            self._serve_plain(envelope.read(packet[20:]))
            return
        key = self._shared.vault.key(int.from_bytes(packet[:8], "little"), self.center.id)
        if key is None:
            self._write(UNKNOWN_KEY)
            return
        self._use(key)
        self._open(key, envelope.unseal(key.auth.key, packet[8:]))

    def _open(self, key: StoredKey, letter: envelope.Envelope) -> None:
        if letter.session != self._session:
            self._session, self._sequence = letter.session, 0
            self._announced = self.listens = False
        if code := _id_fault(letter.message_id):
            self._push(tl.BadMsgNotification(letter.message_id, letter.sequence, code))
            return
        if letter.salt != self.center.salt:
            self._push(tl.BadServerSalt(letter.message_id, letter.sequence, 48, self.center.salt))
            return
        self._newest = letter.message_id
        with self._together():
            if not self._announced:
                self.renew_session()
            requests = envelope.requests(letter.message_id, letter.body)
            late = [id_ for id_, request, quiet in requests if self._serve(key, id_, request, quiet)]
            if late:
                self._push(tl.MsgsAck(late))

    def renew_session(self) -> None:
        """Announce a new session. Updates are pushed only after the client has asked for something in it."""
        self._announced, self.listens = True, False
        unique = int.from_bytes(secrets.token_bytes(8), "little", signed=True)
        self._send((bytes(tl.NewSessionCreated(self._newest, unique, self.center.salt)),), False)

    def _use(self, key: StoredKey | None) -> None:
        """Note from where which key is in use."""
        if key is self.key:
            return
        if self.key is not None:
            self.key.hosts -= Counter({self._host: 1})
        if key is not None:
            key.hosts[self._host] += 1
        self.key = key

    # -- answers

    def _serve_plain(self, request: Any) -> None:
        def make(outcome: Outcome) -> Body:
            return (bytes(self._handshake.answer(request)),)

        def send(body: Body, corrupt: bool) -> None:
            self._write(plain_message(self._message_id(), body[0]))

        self._answer(Call(method_name(request), self.number), make, send)

    def _serve(self, key: StoredKey, message_id: int, request: Any, quiet: bool) -> bool:
        """Answer a request; returns whether the answer comes later, so that it must be acknowledged now."""
        if isinstance(request, _NO_ANSWER):
            return False
        call = Call(method_name(request), self.number, key.account, self._file(request), key)
        head = _RPC_RESULT.pack(_RPC_RESULT_ID, message_id)

        def make(outcome: Outcome) -> Answer:
            if isinstance(request, _PINGS):
                return (bytes(tl.Pong(message_id, request.ping_id)),)
            if isinstance(request, fn.GetFutureSaltsRequest):
                return (bytes(self._future_salts(message_id)),)
            self.listens |= not quiet and not call.method.startswith("upload.")
            result = self._result(outcome, key, request)
            return self._later(head, result) if isinstance(result, asyncio.Future) else (head, *result)

        return self._answer(call, make, self._send)

    def _file(self, request: Any) -> int | None:
        """The file that a request is about."""
        if (token := getattr(request, "file_token", None)) and self._shared.cdn:
            with suppress(RpcFailure):
                return self._shared.cdn.file(token)
        return getattr(getattr(request, "location", None), "id", None)

    def _future_salts(self, message_id: int) -> Any:
        now = int(time.time())
        salts = [tl.FutureSalt(now, now + _SALT_LIFE, self.center.salt)]
        return tl.FutureSalts(message_id, now, salts)

    def tell(self, updates: Any) -> None:
        """Push updates to the client."""
        call = Call(PUSH, self.number, self.key.account if self.key else None)
        self._answer(call, lambda outcome: (bytes(updates),), self._send)

    def _answer(
        self, call: Call, make: Callable[[Outcome], Answer], send: Callable[[Body, bool], None]
    ) -> bool:
        """The one place where faults happen: to every request, between its arrival and its reply. Returns
        whether the reply comes later."""
        shared = self._shared
        shared.counters.count(call)
        outcome = shared.faults.meet(call)
        if outcome.refuse is not None and call.key is not None:
            shared.vault.refuse(call.key, *outcome.refuse)
        if outcome.drop:
            self.drop()
        self._silent |= outcome.silent
        if outcome.drop or self._silent:
            return False
        if outcome.salt:
            self.center.change_salt()
        answer = make(outcome)
        if outcome.session:
            self.renew_session()
        if not isinstance(answer, asyncio.Future):
            return self._reply(outcome, answer, send)

        def reply(done: asyncio.Future[Body]) -> None:
            if not done.cancelled():
                self._reply(outcome, done.result(), send)

        answer.add_done_callback(reply)
        return True

    def _reply(self, outcome: Outcome, body: Body, send: Callable[[Body, bool], None]) -> bool:
        if outcome.lose:
            return False
        now = self._loop.time()
        wait = outcome.ready(now, sum(map(len, body))) - now
        if wait > 0:
            self._loop.call_later(wait, send, body, outcome.corrupt)
        else:
            send(body, outcome.corrupt)
        return wait > 0

    def _result(self, outcome: Outcome, key: StoredKey, request: Any) -> Body | asyncio.Future[Any]:
        try:
            if outcome.error is not None:
                raise outcome.error
            with self._shared.news.answering(self) as events:
                result = handlers.answer(self.center.context(key, events), request)
        except RpcFailure as failure:
            return _refusal(failure)
        if isinstance(result, asyncio.Future):
            return result
        if not isinstance(result, FilePart):
            return (_serialise(result),)
        body = result.serialise(outcome.short, tamper=outcome.tamper)
        self._shared.counters.sent(outcome.call, len(body[1]))
        self._shared.faults.sent(outcome.call, len(body[1]))
        return body

    def _later(self, head: bytes, result: asyncio.Future[Any]) -> asyncio.Future[Body]:
        """An answer that somebody else has to give first."""

        async def body() -> Body:
            try:
                return head, _serialise(await result)
            except RpcFailure as failure:
                return head, *_refusal(failure)

        answer = asyncio.ensure_future(body())
        self._pending.add(answer)
        answer.add_done_callback(self._pending.discard)
        return answer

    # -- out

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Send what is said meanwhile in one container, unless it is long or a single message."""
        self._waiting = []
        try:
            yield
        finally:
            self._flush()
            self._waiting = None

    def _push(self, thing: Any) -> None:
        """Send something that wants no acknowledgement."""
        self._send((bytes(thing),), False, wants_ack=False)

    def _send(self, body: Body, corrupt: bool, *, wants_ack: bool = True) -> None:
        """Send a message to the client, now or together with others."""
        if self.key is None:
            return  # the client left while the answer was under way
        message = _Message(self._message_id(), self._next_sequence(wants_ack), body)
        if self._waiting is None:
            self._seal(message, corrupt)
        elif corrupt or sum(map(len, body)) > _LONGEST_IN_CONTAINER:
            self._flush()
            self._seal(message, corrupt)
        else:
            self._waiting.append(message)

    def _flush(self) -> None:
        """Send the messages that wait."""
        waiting, self._waiting = self._waiting or [], []
        if len(waiting) > 1:
            inner = b"".join(map(_in_container, waiting))
            body = (_CONTAINER.pack(MessageContainer.CONSTRUCTOR_ID, len(waiting)), inner)
            waiting = [_Message(self._message_id(), self._next_sequence(False), body)]
        for message in waiting:
            self._seal(message, False)

    def _seal(self, message: "_Message", corrupt: bool) -> None:
        if self.key is None:
            return
        head = (self.center.salt, self._session, message.id, message.sequence)
        message_key, sealed = envelope.seal(self.key.auth.key, head, message.body)
        if corrupt:
            message_key = bytes(byte ^ 0xFF for byte in message_key)
        self._write(struct.pack("<Q", self.key.id), message_key, sealed)

    def _next_sequence(self, wants_ack: bool) -> int:
        """Twice the number of messages before that wanted an acknowledgement, plus 1 if this one does."""
        before = self._sequence
        self._sequence += wants_ack
        return 2 * before + wants_ack

    def _write(self, *parts: bytes) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(self._transport.frame(*parts))

    def _message_id(self) -> int:
        """The clock in units of 2^-32 s, growing, and 1 modulo 4 as a server's answers are."""
        self._last_id = max(int(time.time() * 2**32) & ~3 | 1, self._last_id + 4)
        return self._last_id


class _Message(NamedTuple):
    """One of our messages."""

    id: int
    sequence: int
    body: Body


def _in_container(message: _Message) -> bytes:
    length = sum(map(len, message.body))
    return b"".join((_INNER.pack(message.id, message.sequence, length), *message.body))


def _id_fault(message_id: int) -> int:
    """The code of bad_msg_notification that a client's message id deserves, or 0."""
    seconds = (message_id >> 32) - time.time()
    if message_id % 4:
        return 18
    if seconds < _OLDEST:
        return 16
    return 17 if seconds > _NEWEST else 0


def _refusal(failure: RpcFailure) -> Body:
    return (bytes(tl.RpcError(failure.code, failure.text)),)


def _serialise(result: Any) -> bytes:
    """A result in TL, compressed if that makes it smaller, as the service does."""
    if isinstance(result, bool):
        return _TRUE if result else _FALSE
    if isinstance(result, list):
        plain = struct.pack("<Ii", _VECTOR_ID, len(result)) + b"".join(map(bytes, result))
    else:
        plain = bytes(result)
    if len(plain) < _GZIP_FROM:
        return plain
    packed = bytes(GzipPacked(plain))
    return packed if len(packed) < len(plain) else plain
