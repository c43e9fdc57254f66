"""A CDN data centre: it holds encrypted copies of popular files (https://core.telegram.org/cdn).

It has an RSA key of its own, knows no accounts and answers nothing but upload.getCdnFile. The data centre of
a file sends clients there, and tells them the key, and the hashes of what they must get.
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

#: The number of the first of Telegram's own.
CDN_DC = 203
_HASHED = 128 << 10  # bytes for which there is one hash
_HASHES = 16  # are told at once
_TOKEN = struct.Struct("<qi")  # file, generation


@dataclass(eq=False)
class Cdn:
    """Which files it has, and what clients must know to read them."""

    rsa: RSAPrivateKey
    public_key: str
    files: set[int]  # clients are sent to it for these
    held: set[int] = field(default_factory=set)  # it has these in its memory; others it must get first
    generation: int = 1  # tokens of an earlier one are refused
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def redirect(self, file: StoredFile, offset: int) -> Any:
        """What a client is told that asks for a part of such a file elsewhere."""
        key, iv = self._cipher(file)
        hashes = self.hashes(file, offset)
        return tl.upload.FileCdnRedirect(CDN_DC, self._token(file.id, self.generation), key, iv, hashes)

    def file(self, token: bytes) -> int:
        """The file of a token."""
        if len(token) < _TOKEN.size:
            raise RpcFailure(400, "FILE_TOKEN_INVALID")
        file, generation = _TOKEN.unpack_from(token)
        if generation != self.generation or not hmac.compare_digest(token, self._token(file, generation)):
            raise RpcFailure(400, "FILE_TOKEN_INVALID")
        return int(file)

    def hashes(self, file: StoredFile, offset: int) -> list[Any]:
        """Those of some blocks from an offset on."""
        first = offset - offset % _HASHED
        starts = range(first, min(file.content.size, first + _HASHES * _HASHED), _HASHED)
        blocks = ((start, file.content.read(start, _HASHED)) for start in starts)
        return [tl.FileHash(start, len(data), hashlib.sha256(data).digest()) for start, data in blocks]

    def part(self, file: StoredFile, offset: int, limit: int) -> bytes:
        """The encrypted bytes of a part."""
        key, iv = self._cipher(file)
        counter = iv[:12] + (offset // 16).to_bytes(4, "big")
        cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
        return cipher.update(file.content.read(offset, limit))

    def request_token(self, file: int) -> bytes:
        """What a client must take to the data centre of a file that is not held."""
        return hmac.digest(self.secret, b"upload %d" % file, "sha256")

    def forget(self, files: Iterable[int]) -> None:
        """Have files no more in memory."""
        self.held -= set(files)

    def _cipher(self, file: StoredFile) -> tuple[bytes, bytes]:
        digest = hmac.digest(self.secret, b"key %d" % file.id, "sha512")
        return digest[:32], digest[32:48]

    def _token(self, file: int, generation: int) -> bytes:
        head = _TOKEN.pack(file, generation)
        return head + hmac.digest(self.secret, head, "sha256")[:12]
