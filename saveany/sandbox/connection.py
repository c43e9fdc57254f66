"""Serves one connection of a client (https://core.telegram.org/mtproto/description)."""

import asyncio
import logging
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from telethon.tl import functions as fn
from telethon.tl import types as tl
from telethon.tl.core import GzipPacked

from saveany.sandbox import envelope, handlers, transport
from saveany.sandbox.calls import Call, method_name
from saveany.sandbox.errors import ProtocolError, RpcFailure
from saveany.sandbox.faults import Outcome
from saveany.sandbox.handlers.files import FilePart
from saveany.sandbox.handshake import Handshake, plain_message
from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.model import MessageEvent
from saveany.sandbox.outgoing import Body, MessageWriter
from saveany.sandbox.shared_state import SharedState

log = logging.getLogger(__name__)

UNKNOWN_KEY = struct.pack("<i", -404)  # the reply to a client with an unknown key
WRITE_BUFFER = 4 << 20  # bytes that may be buffered for a slow client before its next request is read
_MIN_PACKET = 24  # bytes: key id, message key
_SALT_LIFETIME = 1800  # seconds
_RPC_RESULT = struct.Struct("<Iq")
_RPC_RESULT_ID, _VECTOR_ID = 0xF35C6D01, 0x1CB5C415
_TRUE, _FALSE = struct.pack("<I", 0x997275B5), struct.pack("<I", 0xBC799737)
_MIN_GZIP = 512  # bytes; shorter results are not compressed
_MIN_AGE, _MAX_AGE = -300, 30  # seconds by which a message id may differ from the server's clock
_NO_REPLY = (tl.MsgsAck, tl.MsgsStateReq, tl.MsgsAllInfo, tl.MsgResendReq)
_PINGS = (fn.PingRequest, fn.PingDelayDisconnectRequest)
#: The method of pushed updates in counters and faults.
PUSH = "updates"

Reply = Body | asyncio.Future[Body]


class ConnectionOwner(Protocol):
    """The data center that a connection belongs to."""

    id: int
    rsa: RSAPrivateKey
    shared: SharedState
    salt: int

    def change_salt(self) -> None:
        """Accept only a new salt from now on."""

    def context(self, key: StoredKey, events: list[MessageEvent]) -> handlers.RequestContext:
        """The context for a handler."""


class ClientConnection:
    """Serves one client until it disconnects; `number` counts the connections of a sandbox from 1."""

    def __init__(
        self, center: ConnectionOwner, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.center = center
        self.number = number
        self._shared = center.shared
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._messages = MessageWriter(writer, center)
        self._host = str((writer.get_extra_info("peername") or ("gone already",))[0])
        self._handshake = Handshake(
            center.rsa, center.id, lambda key: self._shared.key_store.add(key, center.id)
        )
        self.key: StoredKey | None = None
        self.receives_updates = False
        self._pending: set[asyncio.Future[Body]] = set()
        self._announced = False  # whether the client was told that its session is new
        self._newest = 0  # id of the client's last message
        self._silent = False
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    async def run(self) -> None:
        """Serve until the client disconnects or violates the protocol."""
        self._shared.broadcaster.add_listener(self)
        try:
            incoming = self._messages.transport = await transport.accept(self._reader)
            while True:
                self._receive(await incoming.read())
                await self._writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        except ProtocolError as broken:
            log.info("connection %d closed: %s", self.number, broken)
        except Exception:
            log.exception("connection %d closed because of an internal error", self.number)
        finally:
            self._shared.broadcaster.remove_listener(self)
            self._use(None)
            for reply in list(self._pending):
                reply.cancel()
            self._writer.transport.abort()

    def drop(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    # Receiving.

    def _receive(self, packet: bytes) -> None:
        if len(packet) < _MIN_PACKET:
            raise ProtocolError(f"a packet has only {len(packet)} bytes")
        if packet[:8] == bytes(8):
            self._serve_plain(envelope.read(packet[20:]))
            return
        key = self._shared.key_store.key(int.from_bytes(packet[:8], "little"), self.center.id)
        if key is None:
            self._messages.write(UNKNOWN_KEY)
            return
        self._use(key)
        self._open(key, envelope.unseal(key.auth.key, packet[8:]))

    def _open(self, key: StoredKey, message: envelope.Envelope) -> None:
        if self._messages.begin_session(message.session):
            self._announced = self.receives_updates = False
        if code := _message_id_error(message.message_id):
            self._messages.push(tl.BadMsgNotification(message.message_id, message.sequence, code))
            return
        if message.salt != self.center.salt:
            self._messages.push(tl.BadServerSalt(message.message_id, message.sequence, 48, self.center.salt))
            return
        self._newest = message.message_id
        with self._messages.batched():
            if not self._announced:
                self.renew_session()
            requests = envelope.requests(message.message_id, message.body)
            delayed = [id_ for id_, request, quiet in requests if self._serve(key, id_, request, quiet)]
            if delayed:
                self._messages.push(tl.MsgsAck(delayed))

    def renew_session(self) -> None:
        """Announce a new session. Updates are pushed only after the client has sent a request in it."""
        self._announced, self.receives_updates = True, False
        unique = int.from_bytes(secrets.token_bytes(8), "little", signed=True)
        self._messages.send((bytes(tl.NewSessionCreated(self._newest, unique, self.center.salt)),), False)

    def _use(self, key: StoredKey | None) -> None:
        """Record the key in use, and the client address it is used from."""
        if key is self.key:
            return
        if self.key is not None:
            self.key.hosts -= Counter({self._host: 1})
        if key is not None:
            key.hosts[self._host] += 1
        self.key = self._messages.key = key

    # Replies.

    def _serve_plain(self, request: Any) -> None:
        def make(outcome: Outcome) -> Body:
            return (bytes(self._handshake.reply_to(request)),)

        def send(body: Body, corrupt: bool) -> None:
            self._messages.write(plain_message(self._messages.message_id(), body[0]))

        self._respond(Call(method_name(request), self.number), make, send)

    def _serve(self, key: StoredKey, message_id: int, request: Any, quiet: bool) -> bool:
        """Reply to a request. Returns whether the reply is sent later, so that the request must be
        acknowledged now."""
        if isinstance(request, _NO_REPLY):
            return False
        call = Call(method_name(request), self.number, key.account, self._file(request), key)
        head = _RPC_RESULT.pack(_RPC_RESULT_ID, message_id)

        def make(outcome: Outcome) -> Reply:
            if isinstance(request, _PINGS):
                return (bytes(tl.Pong(message_id, request.ping_id)),)
            if isinstance(request, fn.GetFutureSaltsRequest):
                return (bytes(self._future_salts(message_id)),)
            self.receives_updates |= not quiet and not call.method.startswith("upload.")
            result = self._result(outcome, key, request)
            return self._later(head, result) if isinstance(result, asyncio.Future) else (head, *result)

        return self._respond(call, make, self._messages.send)

    def _file(self, request: Any) -> int | None:
        """The file or the group call that a request refers to."""
        if (token := getattr(request, "file_token", None)) and self._shared.cdn:
            with suppress(RpcFailure):
                return self._shared.cdn.file(token)
        location = getattr(request, "location", None)
        call = getattr(location or request, "call", None)
        return getattr(location if call is None else call, "id", None)

    def _future_salts(self, message_id: int) -> Any:
        now = int(time.time())
        salts = [tl.FutureSalt(now, now + _SALT_LIFETIME, self.center.salt)]
        return tl.FutureSalts(message_id, now, salts)

    def push_updates(self, updates: Any) -> None:
        """Push updates to the client."""
        call = Call(PUSH, self.number, self.key.account if self.key else None)
        self._respond(call, lambda outcome: (bytes(updates),), self._messages.send)

    def _respond(
        self, call: Call, make: Callable[[Outcome], Reply], send: Callable[[Body, bool], None]
    ) -> bool:
        """Apply the faults and send the reply. All faults happen here, between the arrival of a request and
        its reply. Returns whether the reply is sent later."""
        shared = self._shared
        shared.counters.count(call)
        outcome = shared.faults.apply(call)
        if outcome.refuse is not None and call.key is not None:
            shared.key_store.refuse(call.key, *outcome.refuse)
        if outcome.drop:
            self.drop()
        self._silent |= outcome.silent
        if outcome.drop or self._silent:
            return False
        if outcome.salt:
            self.center.change_salt()
        reply = make(outcome)
        if outcome.session:
            self.renew_session()
        if not isinstance(reply, asyncio.Future):
            return self._send_reply(outcome, reply, send)

        def send_reply(done: asyncio.Future[Body]) -> None:
            if not done.cancelled():
                self._send_reply(outcome, done.result(), send)

        reply.add_done_callback(send_reply)
        return True

    def _send_reply(self, outcome: Outcome, body: Body, send: Callable[[Body, bool], None]) -> bool:
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
            with self._shared.broadcaster.handling(self) as events:
                result = handlers.handle(self.center.context(key, events), request)
        except RpcFailure as failure:
            return _refusal(failure)
        if isinstance(result, asyncio.Future):
            return result
        if not isinstance(result, FilePart):
            return (_serialize(result),)
        body = result.serialize(outcome.short, tamper=outcome.tamper)
        self._shared.counters.sent(outcome.call, len(body[1]))
        self._shared.faults.sent(outcome.call, len(body[1]))
        return body

    def _later(self, head: bytes, result: asyncio.Future[Any]) -> asyncio.Future[Body]:
        """A reply that depends on another client."""

        async def body() -> Body:
            try:
                return head, _serialize(await result)
            except RpcFailure as failure:
                return head, *_refusal(failure)

        reply = asyncio.ensure_future(body())
        self._pending.add(reply)
        reply.add_done_callback(self._pending.discard)
        return reply


def _message_id_error(message_id: int) -> int:
    """The code of bad_msg_notification for a client's message id; 0 if the id is valid."""
    seconds = (message_id >> 32) - time.time()
    if message_id % 4:
        return 18
    if seconds < _MIN_AGE:
        return 16
    return 17 if seconds > _MAX_AGE else 0


def _refusal(failure: RpcFailure) -> Body:
    return (bytes(tl.RpcError(failure.code, failure.text)),)


def _serialize(result: Any) -> bytes:
    """A serialized result, compressed if that makes it smaller, as the real service does."""
    if isinstance(result, bool):
        return _TRUE if result else _FALSE
    if isinstance(result, list):
        plain = struct.pack("<Ii", _VECTOR_ID, len(result)) + b"".join(map(bytes, result))
    else:
        plain = bytes(result)
    if len(plain) < _MIN_GZIP:
        return plain
    packed = bytes(GzipPacked(plain))
    return packed if len(packed) < len(plain) else plain
