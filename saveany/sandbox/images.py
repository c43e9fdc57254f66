"""Photos: what Telegram accepts as one, and what it makes of it.

The limits are those of TDLib's `inputMessagePhoto`: 10 MB, 10,000 pixels for width and height together, and a
ratio of 20. Telegram compresses every photo again. Here the image stays the same, but its bytes do not.
"""

import struct
from pathlib import PurePath

from saveany.sandbox.content import FileContent, LiteralContent
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.model import Picture

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".tif", ".bmp", ".webp")
_MAX_BYTES, _MAX_SIDES, _MAX_RATIO = 10 << 20, 10_000, 20
_COMPRESSED = b"\0compressed again"  # after the end of an image, where viewers ignore it
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def photo(name: str, content: FileContent) -> Picture:
    """The picture of a photo made of an uploaded file. Raises if Telegram does not accept it as a photo."""
    if content.size > _MAX_BYTES:
        raise RpcFailure(400, "PHOTO_SAVE_FILE_INVALID")
    if PurePath(name).suffix.lower() not in _EXTENSIONS:
        raise RpcFailure(400, "PHOTO_EXT_INVALID")
    data = content.read(0, content.size)
    width, height = _dimensions(data)
    sides = sorted((width, height))
    if not sides[0] or sum(sides) > _MAX_SIDES or sides[1] > _MAX_RATIO * sides[0]:
        raise RpcFailure(400, "PHOTO_INVALID_DIMENSIONS")
    return Picture("y", width, height, LiteralContent(data + _COMPRESSED))


def _dimensions(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or JPEG. Raises for other bytes."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data.startswith(b"\xff\xd8"):
            return _of_jpeg(data)
    except (struct.error, IndexError):
        pass
    raise RpcFailure(400, "IMAGE_PROCESS_FAILED")


def _of_jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    raise IndexError
