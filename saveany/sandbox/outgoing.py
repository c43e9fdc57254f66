"""Messages from the server to one client (https://core.telegram.org/mtproto/description)."""

import asyncio
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from telethon.tl.core import MessageContainer

from saveany.sandbox import envelope
from saveany.sandbox.key_store import StoredKey
from saveany.sandbox.transport import Transport

_MAX_IN_CONTAINER = 64 << 10  # bytes; a longer message is sent separately
_CONTAINER = struct.Struct("<Ii")  # constructor, number of messages
_INNER = struct.Struct("<qii")  # message id, sequence number, length

#: The parts of a serialized message, which are joined only when they are encrypted.
Body = tuple[bytes, ...]


class _SaltOwner(Protocol):
    """The data center, whose salt every message carries."""

    salt: int


class _Message(NamedTuple):
    """A message to the client."""

    id: int
    sequence: int
    body: Body


class MessageWriter:
    """Numbers the messages of a session, puts short ones into containers, encrypts them and writes them."""

    def __init__(self, writer: asyncio.StreamWriter, center: _SaltOwner) -> None:
        self.key: StoredKey | None = None  # messages are dropped without a key
        self.transport: Transport | None = None  # known once the client has sent its first bytes
        self._writer = writer
        self._center = center
        self._session = 0
        self._sequence = 0  # number of sent messages that require an acknowledgement
        self._waiting: list[_Message] | None = None  # replies to one packet, to be sent together
        self._last_id = 0

    def begin_session(self, session: int) -> bool:
        """Number messages for this session from now on. Returns whether it is another one than before."""
        is_other = session != self._session
        if is_other:
            self._session, self._sequence = session, 0
        return is_other

    @contextmanager
    def batched(self) -> Iterator[None]:
        """Send the messages of the block in one container, except for long ones and for a single one."""
        self._waiting = []
        try:
            yield
        finally:
            self._flush()
            self._waiting = None

    def push(self, thing: Any) -> None:
        """Send a message that requires no acknowledgement."""
        self.send((bytes(thing),), False, wants_ack=False)

    def send(self, body: Body, corrupt: bool, *, wants_ack: bool = True) -> None:
        """Send a message to the client, now or in a container with others."""
        if self.key is None:
            return  # the client has disconnected
        message = _Message(self.message_id(), self._next_sequence(wants_ack), body)
        if self._waiting is None:
            self._seal(message, corrupt)
        elif corrupt or sum(map(len, body)) > _MAX_IN_CONTAINER:
            self._flush()
            self._seal(message, corrupt)
        else:
            self._waiting.append(message)

    def write(self, *parts: bytes) -> None:
        """Write a packet as it is."""
        if self.transport is not None and not self._writer.transport.is_closing():
            self._writer.write(self.transport.frame(*parts))

    def message_id(self) -> int:
        """The clock in units of 2^-32 s, increasing, and 1 modulo 4 as required for a server's replies."""
        self._last_id = max(int(time.time() * 2**32) & ~3 | 1, self._last_id + 4)
        return self._last_id

    def _flush(self) -> None:
        """Send the waiting messages."""
        waiting, self._waiting = self._waiting or [], []
        if len(waiting) > 1:
            inner = b"".join(map(_in_container, waiting))
            body = (_CONTAINER.pack(MessageContainer.CONSTRUCTOR_ID, len(waiting)), inner)
            waiting = [_Message(self.message_id(), self._next_sequence(False), body)]
        for message in waiting:
            self._seal(message, False)

    def _seal(self, message: _Message, corrupt: bool) -> None:
        if self.key is None:
            return
        head = (self._center.salt, self._session, message.id, message.sequence)
        message_key, sealed = envelope.seal(self.key.auth.key, head, message.body)
        if corrupt:
            message_key = bytes(byte ^ 0xFF for byte in message_key)
        self.write(struct.pack("<Q", self.key.id), message_key, sealed)

    def _next_sequence(self, wants_ack: bool) -> int:
        """Twice the number of earlier messages that require an acknowledgement, plus 1 if this one does."""
        before = self._sequence
        self._sequence += wants_ack
        return 2 * before + wants_ack


def _in_container(message: _Message) -> bytes:
    length = sum(map(len, message.body))
    return b"".join((_INNER.pack(message.id, message.sequence, length), *message.body))
