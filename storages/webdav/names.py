"""File names as they are spelled on a WebDAV server."""

from __future__ import annotations

from typing import Final

from storages.names import Encoder
from storages.parts import is_reserved

#: rclone replaces control characters by pictures of them, WsgiDAV cuts the Destination of a MOVE off at ? and
#: ;, Nextcloud refuses \.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\\?;")


def encode_name(name: str) -> str:
    """A name as it stands on the server. nginx does not list names that begin with a dot, as parts do."""
    spelled = NAMES.encode(name)
    return f"%2E{spelled[1:]}" if is_reserved(name) and name.startswith(".") else spelled


def decode_name(spelled: str) -> str:
    """The name that stands there as `spelled`."""
    name = NAMES.decode(spelled)
    hidden = f".{name.removeprefix('%2E')}"
    return hidden if name.startswith("%2E") and is_reserved(hidden) else name
