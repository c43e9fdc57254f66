"""What the sandbox's files contain: any byte of any file, without a disk.

A large file is the key stream of AES-CTR under a key made from its seed, so the bytes at an offset cost the
same wherever they are, never repeat, and can be checked by anybody who knows the seed.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MIB = 1 << 20
_BLOCK = 16
_ZEROS = memoryview(bytes(MIB + _BLOCK))


class Content(Protocol):
    """The bytes of one file."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), shorter at the end of the file, empty beyond it."""


@dataclass(frozen=True)
class Literal:
    """A file whose bytes are given."""

    data: bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """See `Content.read`."""
        return self.data[offset : offset + length]


@dataclass(frozen=True)
class Stream:
    """A file of any size whose bytes are a function of (seed, offset)."""

    seed: int
    size: int

    @cached_property
    def _cipher(self) -> algorithms.AES:
        return algorithms.AES(hashlib.sha256(b"sandbox file %d" % self.seed).digest())

    def read(self, offset: int, length: int) -> bytes:
        """See `Content.read`."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        block, skip = divmod(offset, _BLOCK)
        encryptor = Cipher(self._cipher, modes.CTR(block.to_bytes(_BLOCK, "big"))).encryptor()
        need = skip + length
        stream = encryptor.update(_ZEROS[:need] if need <= len(_ZEROS) else bytes(need))
        return stream[skip:] if skip else stream


def sha256(content: Content) -> str:
    """The hex SHA-256 of a whole file, read a mebibyte at a time."""
    digest = hashlib.sha256()
    for offset in range(0, content.size, MIB):
        digest.update(content.read(offset, MIB))
    return digest.hexdigest()
