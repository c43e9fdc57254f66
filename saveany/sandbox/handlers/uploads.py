"""upload.saveFilePart and saveBigFilePart (https://core.telegram.org/api/files#uploading-files)."""

import hashlib
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.content import UploadedContent, UploadedParts
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles

_MAX_PART = 512 << 10  # bytes
_MAX_PARTS = {False: 4000, True: 8000}  # without and with Premium
_BIG = 10 << 20  # bytes; larger files must be sent with saveBigFilePart


@handles(fn.upload.SaveFilePartRequest)
def save_file_part(context: RequestContext, request: Any) -> bool:
    """A part of a small file."""
    return _save(context, request, None)


@handles(fn.upload.SaveBigFilePartRequest)
def save_big_file_part(context: RequestContext, request: Any) -> bool:
    """A part of a big file; the total is -1 while the sender does not know it."""
    if request.file_total_parts != -1 and not 0 < request.file_total_parts <= _max_parts(context):
        raise RpcFailure(400, "FILE_PARTS_INVALID")
    return _save(context, request, request.file_total_parts)


def uploaded(context: RequestContext, file: Any) -> UploadedContent:
    """The uploaded contents of an `inputFile` or `inputFileBig`. Raises if parts are missing or wrong."""
    if not 1 <= file.parts <= _max_parts(context):
        raise RpcFailure(400, "FILE_PARTS_INVALID")
    parts = context.world.uploads.get((context.account.id, file.id), UploadedParts(context.world.store))
    missing = next((number for number in range(file.parts) if number not in parts), None)
    if missing is not None:
        raise RpcFailure(400, f"FILE_PART_{missing}_MISSING")
    if len(parts) > file.parts:
        raise RpcFailure(400, "FILE_PARTS_INVALID")
    *lengths, last = (parts.lengths[number] for number in range(file.parts))
    if any(length != lengths[0] for length in lengths) or (lengths and last > lengths[0]):
        raise RpcFailure(400, "FILE_PART_SIZE_INVALID")
    content = UploadedContent(parts)
    if isinstance(file, tl.InputFile):
        _check_small(content, file.md5_checksum)
    return content


def _check_small(content: UploadedContent, checksum: str) -> None:
    if content.size > _BIG:
        raise RpcFailure(400, "FILE_PARTS_INVALID")
    digest = hashlib.md5(content.read(0, content.size), usedforsecurity=False).hexdigest()
    if checksum and checksum != digest:
        raise RpcFailure(400, "MD5_CHECKSUM_INVALID")


def _max_parts(context: RequestContext) -> int:
    return _MAX_PARTS[context.account.premium]


def _save(context: RequestContext, request: Any, total: int | None) -> bool:
    number, data = request.file_part, request.bytes
    if not 0 <= number < _max_parts(context) or (total is not None and 0 <= total <= number):
        raise RpcFailure(400, "FILE_PART_INVALID")
    if not data:
        raise RpcFailure(400, "FILE_PART_EMPTY")
    if len(data) > _MAX_PART:
        raise RpcFailure(400, "FILE_PART_TOO_BIG")
    # The last part may have any length. Which one is the last is known only when the file is used.
    whole = len(data) % 1024 == 0 and _MAX_PART % len(data) == 0
    if not whole and total is not None and total != number + 1:
        raise RpcFailure(400, "FILE_PART_SIZE_INVALID")
    key = (context.account.id, request.file_id)
    context.world.uploads.setdefault(key, UploadedParts(context.world.store)).keep(number, data)
    return True
