"""The encrypted envelope of MTProto 2.0 (https://core.telegram.org/mtproto/description)."""

import hashlib
import hmac
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from telethon.crypto import AES
from telethon.errors import TypeNotFoundError
from telethon.extensions import BinaryReader
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import TLObject
from telethon.tl import functions as fn
from telethon.tl.core import GzipPacked, MessageContainer

from saveany.sandbox.errors import ProtocolError

HEADER = struct.Struct("<qqqii")  # salt, session, message id, sequence number, length
_FROM_CLIENT, _FROM_SERVER = 88, 96  # offsets in the key of the bytes hashed for each direction


@dataclass(frozen=True)
class Envelope:
    """The contents of an envelope from a client."""

    salt: int
    session: int
    message_id: int
    sequence: int
    body: bytes


def unseal(key: bytes, packet: bytes) -> Envelope:
    """Decrypt a client's packet (without the key id before it)."""
    message_key, sealed = packet[:16], packet[16:]
    if not sealed or len(sealed) % 16:
        raise ProtocolError("the length of the envelope is not a multiple of the block size")
    plain = AES.decrypt_ige(sealed, *MTProtoState._calc_key(key, message_key, True))
    if not hmac.compare_digest(_message_key(key, _FROM_CLIENT, plain), message_key):
        raise ProtocolError("the message key is wrong")
    salt, session, message_id, sequence, length = HEADER.unpack_from(plain)
    end = HEADER.size + length
    if length < 0 or length % 4 or not 12 <= len(plain) - end <= 1024:
        raise ProtocolError("the message has a wrong length")
    return Envelope(salt, session, message_id, sequence, plain[HEADER.size : end])


def seal(key: bytes, header: tuple[int, int, int, int], body: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Message key and encrypted bytes for a message with this header (salt, session, message id,
    sequence)."""
    length = sum(map(len, body))
    head = HEADER.pack(*header, length)
    padding = os.urandom(12 + -(HEADER.size + length + 12) % 16)
    plain = b"".join((head, *body, padding))
    message_key = _message_key(key, _FROM_SERVER, plain)
    return message_key, AES.encrypt_ige(plain, *MTProtoState._calc_key(key, message_key, False))


def requests(message_id: int, body: bytes) -> Iterator[tuple[int, Any, bool]]:
    """The requests in a message, unpacked from containers, gzip and the invokeWith… wrappers.

    Each comes with its message id and whether it was wrapped in `invokeWithoutUpdates`. In place of a request
    that cannot be read there is a `ProtocolError`.
    """
    try:
        thing = read(body)
    except ProtocolError as unreadable:
        thing = unreadable
    yield from _unpack(message_id, thing)


def read(data: bytes) -> Any:
    """The TL object at the start of the bytes."""
    try:
        return BinaryReader(data).tgread_object()
    except (TypeNotFoundError, BufferError, ValueError, RuntimeError, struct.error, OSError) as error:
        raise ProtocolError(f"invalid TL object: {error}") from error  # OSError: gzip.BadGzipFile


def _unpack(message_id: int, thing: Any, quiet: bool = False) -> Iterator[tuple[int, Any, bool]]:
    if isinstance(thing, MessageContainer):
        for message in thing.messages:
            yield from _unpack(message.msg_id, message.obj)
    elif isinstance(thing, GzipPacked):
        yield from requests(message_id, thing.data)
    elif isinstance(getattr(thing, "query", None), TLObject):
        quiet |= isinstance(thing, fn.InvokeWithoutUpdatesRequest)
        if isinstance(thing, fn.InvokeWithTakeoutRequest):
            thing.query.sandbox_takeout = thing.takeout_id
        yield from _unpack(message_id, thing.query, quiet)
    else:
        yield message_id, thing, quiet


def _message_key(key: bytes, start: int, plain: bytes) -> bytes:
    digest = hashlib.sha256(key[start : start + 32])
    digest.update(plain)
    return digest.digest()[8:24]
