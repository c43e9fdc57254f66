"""Logins of tdl: its backup, and its own store."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

from saveany.moving_in import bbolt
from saveany.moving_in.found import UnreadableSource

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: How a file that is compressed with zstd begins.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: A backup holds access hashes of all chats, but no files.
_MAX_BYTES, _MAX_WINDOW_LOG = 64 << 20, 23
_SESSION = "session"


def read_backup(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The namespaces of a `tdl backup` with their sessions. Raises `UnreadableSource`."""
    try:
        spaces = json.loads(_decompressed(data))
    except (ValueError, RecursionError) as error:
        raise UnreadableSource("it is compressed, but is not a backup of tdl") from error
    if not _is_backup(spaces):
        raise UnreadableSource("it is compressed, but is not a backup of tdl")
    for name, values in spaces.items():
        if _SESSION in values:
            yield name, _value(values[_SESSION])


def read_store(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The same for a file of tdl's own store. Raises `UnreadableSource`."""
    for name, values in bbolt.buckets(data):
        if session := values.get(_SESSION.encode()):
            yield name, session


def _is_backup(spaces: Any) -> bool:
    return isinstance(spaces, dict) and all(
        isinstance(values, dict) and all(isinstance(each, str) for each in values.values())
        for values in spaces.values()
    )


def _value(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # also for a text that is not ASCII
        raise UnreadableSource("its session is damaged") from error


def _decompressed(data: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    )
    try:
        found = decompressor.decompress(data, max_length=_MAX_BYTES)
    except zstd.ZstdError as error:
        raise UnreadableSource("its compression is damaged") from error
    if len(found) >= _MAX_BYTES:
        raise UnreadableSource("it is too large for a backup of tdl")
    if not decompressor.eof:
        raise UnreadableSource("it is incomplete")
    return found
