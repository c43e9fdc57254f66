"""A CDN data center: it serves encrypted copies of popular files (https://core.telegram.org/cdn).

It has a separate RSA key, knows no accounts and implements only upload.getCdnFile. The data center of a file
redirects clients to it and sends them the key and the hashes.
"""

import hashlib
import hmac
import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.model import StoredFile

#: The id of Telegram's first CDN data center.
CDN_DC = 203
_HASH_BLOCK = 128 << 10  # bytes covered by one hash
_HASHES_PER_REPLY = 16
_TOKEN = struct.Struct("<qi")  # file, generation


@dataclass(eq=False)
class Cdn:
    """The files on the CDN, and the keys and hashes that clients need."""

    rsa: RSAPrivateKey
    public_key: str
    files: set[int]  # clients are redirected to the CDN for these
    held: set[int] = field(default_factory=set)  # files in its memory; others must be uploaded to it first
    generation: int = 1  # tokens of earlier generations are refused
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def redirect(self, file: StoredFile, offset: int) -> Any:
        """The reply to a client that requests a part of a CDN file from another data center."""
        key, iv = self._cipher(file)
        hashes = block_hashes(file, offset)
        return tl.upload.FileCdnRedirect(CDN_DC, self._token(file.id, self.generation), key, iv, hashes)

    def file(self, token: bytes) -> int:
        """The id of the file of a token."""
        if len(token) < _TOKEN.size:
            raise RpcFailure(400, "FILE_TOKEN_INVALID")
        file, generation = _TOKEN.unpack_from(token)
        if generation != self.generation or not hmac.compare_digest(token, self._token(file, generation)):
            raise RpcFailure(400, "FILE_TOKEN_INVALID")
        return int(file)

    def part(self, file: StoredFile, offset: int, limit: int) -> bytes:
        """The encrypted bytes of a part."""
        key, iv = self._cipher(file)
        counter = iv[:12] + (offset // 16).to_bytes(4, "big")
        cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
        return cipher.update(file.content.read(offset, limit))

    def request_token(self, file: int) -> bytes:
        """The token for reuploadCdnFile, for a file that is not in memory."""
        return hmac.digest(self.secret, b"upload %d" % file, "sha256")

    def forget(self, files: Iterable[int]) -> None:
        """Remove files from memory."""
        self.held -= set(files)

    def _cipher(self, file: StoredFile) -> tuple[bytes, bytes]:
        digest = hmac.digest(self.secret, b"key %d" % file.id, "sha512")
        return digest[:32], digest[32:48]

    def _token(self, file: int, generation: int) -> bytes:
        head = _TOKEN.pack(file, generation)
        return head + hmac.digest(self.secret, head, "sha256")[:12]


def block_hashes(file: StoredFile, offset: int) -> list[Any]:
    """The hashes of the next blocks of a file from an offset on."""
    first = offset - offset % _HASH_BLOCK
    starts = range(first, min(file.content.size, first + _HASHES_PER_REPLY * _HASH_BLOCK), _HASH_BLOCK)
    blocks = ((start, file.content.read(start, _HASH_BLOCK)) for start in starts)
    return [tl.FileHash(start, len(data), hashlib.sha256(data).digest()) for start, data in blocks]
