"""Encoding of file names on WebDAV servers."""

from __future__ import annotations

from typing import Final

from storages.names import Encoder
from storages.parts import is_reserved

#: rclone replaces control characters with pictures of them, WsgiDAV cuts the Destination of a MOVE off at ?
#: and ;, Nextcloud refuses \.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\\?;")


def encode_name(name: str) -> str:
    """The name on the server. The dot of a part is encoded, because nginx does not list names with one."""
    encoded = NAMES.encode(name)
    return f"%2E{encoded[1:]}" if is_reserved(name) and name.startswith(".") else encoded


def decode_name(encoded: str) -> str:
    """The original of a name on the server."""
    name = NAMES.decode(encoded)
    hidden = f".{name.removeprefix('%2E')}"
    return hidden if name.startswith("%2E") and is_reserved(hidden) else name
