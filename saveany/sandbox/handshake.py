"""The server's side of creating an authorization key (https://core.telegram.org/mtproto/auth_key).

Clients may encrypt `p_q_inner_data` with the current method (RSA_PAD) or the older one, which Telethon uses.
"""

import hashlib
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from telethon.crypto import AES, AuthKey
from telethon.helpers import generate_key_data_from_nonce
from telethon.tl import TLObject
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.envelope import read
from saveany.sandbox.errors import ProtocolError

#: Two primes whose product the client factors as proof of work. They are small, to save time, and the highest
#: bit of the product is 0, because Telethon reads it as a signed number.
P, Q = 1000003, 1400017
G = 3
_TEST_DCS = 10_000  # added to the id of a test data center; ids of media data centers are negative
SECRET_BYTES = 32  # length of the exponent; a longer one would only take more time
#: The 2048-bit safe prime of Telegram's servers; clients may accept no other.
PRIME = int(
    "C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F48198A0AA7C14058229493D22530F4DB"
    "FA336F6E0AC925139543AED44CCE7C3720FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F64"
    "2477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4A4A695811051907E162753B56B0F6B41"
    "0DBA74D8A84B2A14B3144E0EF1284754FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4"
    "E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F0D8115F635B105EE2E4E15D04B2454BF"
    "6F4FADF034B10403119CD8E3B92FCC5B",
    16,
)


def fingerprint(private: RSAPrivateKey) -> int:
    """The 64-bit number that identifies an RSA key."""
    public = private.public_key().public_numbers()
    parts = (TLObject.serialize_bytes(to_bytes(number)) for number in (public.n, public.e))
    return int.from_bytes(_sha1(b"".join(parts))[-8:], "little", signed=True)


def to_bytes(number: int) -> bytes:
    """Big-endian without leading zero bytes, Telegram's format of long numbers."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


class Handshake:
    """A key exchange on one connection. `store` is called with the new key before the client learns of it."""

    def __init__(self, private: RSAPrivateKey, dc: int, store: Callable[[bytes], Any]) -> None:
        self._private = private
        self._dc = dc
        self._store = store
        self._uses_rsa_pad = False
        self._nonce = self._server_nonce = self._new_nonce = 0
        self._secret = 0
        self._cipher: tuple[bytes, bytes] = (b"", b"")

    def reply_to(self, request: Any) -> Any:
        """The reply to one unencrypted request."""
        if isinstance(request, fn.ReqPqMultiRequest):
            return self._start(request)
        if getattr(request, "server_nonce", None) != self._server_nonce:
            raise ProtocolError("this handshake was not started on this connection")
        if isinstance(request, fn.ReqDHParamsRequest):
            return self._parameters(request)
        if isinstance(request, fn.SetClientDHParamsRequest):
            return self._finish(request)
        raise ProtocolError(f"{type(request).__name__} must be encrypted")

    def _start(self, request: Any) -> Any:
        self._nonce = request.nonce
        self._server_nonce = int.from_bytes(secrets.token_bytes(16), "big", signed=True)
        return tl.ResPQ(self._nonce, self._server_nonce, to_bytes(P * Q), [fingerprint(self._private)])

    def _parameters(self, request: Any) -> Any:
        inner = self._open_rsa(request.encrypted_data)
        if (inner.nonce, inner.server_nonce) != (self._nonce, self._server_nonce):
            raise ProtocolError("the nonces differ")
        if isinstance(inner, tl.PQInnerDataDc) and abs(inner.dc) % _TEST_DCS != self._dc:
            raise ProtocolError(f"this is data center {self._dc}, not {inner.dc}")
        self._new_nonce = inner.new_nonce
        self._cipher = generate_key_data_from_nonce(self._server_nonce, self._new_nonce)
        self._secret = int.from_bytes(secrets.token_bytes(SECRET_BYTES), "big")
        public = to_bytes(pow(G, self._secret, PRIME))
        offer = bytes(
            tl.ServerDHInnerData(
                self._nonce, self._server_nonce, G, to_bytes(PRIME), public, int(time.time())
            )
        )
        plain = _sha1(offer) + offer
        padded = plain + secrets.token_bytes(-len(plain) % 16)
        return tl.ServerDHParamsOk(self._nonce, self._server_nonce, AES.encrypt_ige(padded, *self._cipher))

    def _open_rsa(self, data: bytes) -> Any:
        """The decrypted `p_q_inner_data` of a client, which may have used either method."""
        numbers = self._private.private_numbers()
        opened = pow(int.from_bytes(data, "big"), numbers.d, numbers.public_numbers.n)
        block = opened.to_bytes(256, "big")
        inner = _open_old(block) if block[0] == 0 else None
        self._uses_rsa_pad = inner is None
        inner = inner or _open_padded(block)
        if not isinstance(inner, tl.PQInnerData | tl.PQInnerDataDc):
            raise ProtocolError("the RSA block does not contain p_q_inner_data")
        return inner

    def _finish(self, request: Any) -> Any:
        inner = read(AES.decrypt_ige(request.encrypted_data, *self._cipher)[20:])
        secret = pow(int.from_bytes(inner.g_b, "big"), self._secret, PRIME)
        whole, stripped = AuthKey(secret.to_bytes(256, "big")), AuthKey(to_bytes(secret))
        # One key in 256 begins with a zero byte. Telethon drops that byte, other clients do not, and only the
        # use of the key shows which. Telethon checks the hash in the reply.
        key = whole if self._uses_rsa_pad else stripped
        for each in {each.key_id: each for each in (whole, key)}.values():
            self._store(each.key)
        return tl.DhGenOk(self._nonce, self._server_nonce, key.calc_new_nonce_hash(self._new_nonce, 1))


def _open_old(block: bytes) -> Any:
    """The data in SHA1(data) + data + padding; None if the block has another format."""
    try:
        inner = read(block[21:])
    except ProtocolError:
        return None
    return inner if _sha1(bytes(inner)) == block[1:21] else None


def _open_padded(block: bytes) -> Any:
    """The data in a block in RSA_PAD format: a temporary key, masked with the hash of what it encrypts."""
    masked, sealed = block[:32], block[32:]
    mask = hashlib.sha256(sealed).digest()
    key = bytes(one ^ other for one, other in zip(masked, mask, strict=True))
    plain = AES.decrypt_ige(sealed, key, bytes(32))
    padded, digest = plain[:192][::-1], plain[192:]
    if hashlib.sha256(key + padded).digest() != digest:
        raise ProtocolError("the RSA block is damaged")
    return read(padded)


def _sha1(data: bytes) -> bytes:
    """SHA-1, as the protocol requires. It protects only keys of sandboxes here."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def plain_message(message_id: int, body: bytes) -> bytes:
    """An unencrypted message: key id 0, message id, length, body."""
    return struct.pack("<qqi", 0, message_id, len(body)) + body
