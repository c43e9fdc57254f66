"""The contents of the sandbox's files: any byte of any file, without storing it.

A large file is the key stream of AES-CTR with a key derived from its seed. So reading costs the same at any
offset, the bytes never repeat, and anyone who knows the seed can check them.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryFile
from typing import IO, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MIB = 1 << 20
_BLOCK = 16
_ZEROS = memoryview(bytes(MIB + _BLOCK))


class FileContent(Protocol):
    """The bytes of one file."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), shorter at the end of the file, empty beyond it."""


@dataclass(frozen=True)
class LiteralContent:
    """A file with the given bytes."""

    data: bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """See `FileContent.read`."""
        return self.data[offset : offset + length]


class ContentStore:
    """Stores uploaded bytes in a temporary file that is deleted with the process."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, data: bytes) -> int:
        """Store some bytes; returns their offset."""
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115 - it lives as long as the store
        start, self._end = self._end, self._end + len(data)
        os.pwrite(self._file.fileno(), data, start)
        return start

    def read(self, start: int, length: int) -> bytes:
        """Stored bytes."""
        return os.pread(self._file.fileno(), length, start) if self._file else b""

    def close(self) -> None:
        """Delete everything."""
        if self._file is not None:
            self._file.close()


class UploadedParts(Mapping[int, bytes]):
    """The uploaded parts of a file, by number."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self.lengths: dict[int, int] = {}
        self._starts: dict[int, int] = {}

    def keep(self, number: int, data: bytes) -> None:
        """Add a part, or replace one."""
        self._starts[number], self.lengths[number] = self._store.add(data), len(data)

    def __getitem__(self, number: int) -> bytes:
        return self.read(number, 0, self.lengths[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Bytes of one part."""
        return self._store.read(self._starts[number] + offset, min(length, self.lengths[number] - offset))


@dataclass(frozen=True)
class UploadedContent:
    """A file uploaded in parts from 0 on, all of the same length except the last."""

    parts: UploadedParts

    @cached_property
    def size(self) -> int:
        """Length in bytes."""
        return sum(self.parts.lengths.values())

    def read(self, offset: int, length: int) -> bytes:
        """See `FileContent.read`."""
        each, end = self.parts.lengths[0], min(offset + length, self.size)
        found = []
        while offset < end:
            number, start = divmod(offset, each)
            found.append(self.parts.read(number, start, end - offset))
            offset += len(found[-1])
        return b"".join(found)


@dataclass(frozen=True)
class ContentStream:
    """A file of any size whose bytes are a function of (seed, offset)."""

    seed: int
    size: int

    @cached_property
    def _cipher(self) -> algorithms.AES:
        return algorithms.AES(hashlib.sha256(b"sandbox file %d" % self.seed).digest())

    def read(self, offset: int, length: int) -> bytes:
        """See `FileContent.read`."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        block, skip = divmod(offset, _BLOCK)
        encryptor = Cipher(self._cipher, modes.CTR(block.to_bytes(_BLOCK, "big"))).encryptor()
        need = skip + length
        stream = encryptor.update(_ZEROS[:need] if need <= len(_ZEROS) else bytes(need))
        return stream[skip:] if skip else stream


def sha256(content: FileContent) -> str:
    """The hex SHA-256 of a whole file, read a mebibyte at a time."""
    digest = hashlib.sha256()
    for offset in range(0, content.size, MIB):
        digest.update(content.read(offset, MIB))
    return digest.hexdigest()
