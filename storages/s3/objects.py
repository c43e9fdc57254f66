"""Objects as S3 describes them, and the keys of files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from storages.base import (
    UploadKey,
)
from storages.names import Encoder

OWNER: Final = "saveany-task"
#: Characters that XML, the format of listings, cannot contain.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\ufffe\uffff")


def version_of(reply: Mapping[str, Any]) -> str:
    """The ETag in a reply, without quotes; "" if it has none."""
    return str(reply.get("ETag", "")).strip('"')


def owner_of(key: UploadKey) -> str:
    """The value of the metadata `OWNER`: the task and item of an upload."""
    return f"{key.task}-{key.item}"


def milliseconds(time: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(time.timestamp() * 1000)
