"""The upper limit of one core: only the work that MTProto 2.0 and a verified file require."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time

import cryptg

from bench.results import MB, MIB

_KEY = bytes(range(32))


def limit(size: int) -> float:
    """MB per CPU-second for `size` bytes in parts of 1 MiB: AES-IGE, the SHA-256 of the message, the SHA-256
    of the content, the write, and one fsync at the end."""
    sealed = os.urandom(MIB)
    content = hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        began = time.process_time()
        for offset in range(0, size, MIB):
            opened = cryptg.decrypt_ige(sealed, _KEY, _KEY)
            hashlib.sha256(opened).digest()
            content.update(opened)
            os.pwrite(file.fileno(), opened, offset)
        os.fsync(file.fileno())
        return size / MB / (time.process_time() - began)
