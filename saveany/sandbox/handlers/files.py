"""upload.getFile (https://core.telegram.org/api/files#downloading-files)."""

import struct
from dataclasses import dataclass
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import access
from saveany.sandbox.cdn import block_hashes
from saveany.sandbox.content import MIB
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.group_calls import stream_part
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.wrappings import web_url

_KINDS = {
    "image/jpeg": tl.storage.FileJpeg,
    "image/png": tl.storage.FilePng,
    "application/pdf": tl.storage.FilePdf,
    "video/mp4": tl.storage.FileMp4,
    "audio/mpeg": tl.storage.FileMp3,
    "image/webp": tl.storage.FileWebp,
}


@dataclass(frozen=True)
class FilePart:
    """An `upload.file` or `upload.cdnFile`, serialized without the copies that a TL object would make."""

    head: bytes  # the serialized fields before the data
    data: bytes

    def serialize(self, short: int = 0, *, tamper: bool = False) -> tuple[bytes, ...]:
        """The serialized object in pieces, without the last `short` bytes of data, or with one wrong byte."""
        data = self.data[:-short] if short else self.data
        if tamper:
            data = bytes([data[0] ^ 1]) + data[1:]
        length = len(data)
        prefix = bytes([length]) if length < 254 else b"\xfe" + length.to_bytes(3, "little")
        return self.head + prefix, data, bytes(-(len(prefix) + length) % 4)


@handles(fn.upload.GetFileRequest)
def get_file(context: RequestContext, request: Any) -> Any:
    """A part of a document, photo or stream."""
    location = request.location
    if isinstance(location, tl.InputGroupCallStream):
        content = stream_part(context, location)
        check_range(request.offset, request.limit, bool(request.precise))
        return _file("", content.read(request.offset, request.limit))
    if not isinstance(location, (tl.InputDocumentFileLocation, tl.InputPhotoFileLocation)):
        raise RpcFailure(400, "LOCATION_INVALID")
    file = context.world.file(context.account, location.id, location.access_hash, location.file_reference)
    if isinstance(location, tl.InputPhotoFileLocation) != bool(file.pictures):
        raise RpcFailure(400, "LOCATION_INVALID")
    content = file.part(location.thumb_size)
    if file.dc != context.dc:
        raise RpcFailure(303, f"FILE_MIGRATE_{file.dc}")
    check_range(request.offset, request.limit, bool(request.precise))
    if request.cdn_supported and context.cdn and file.id in context.cdn.files:
        return context.cdn.redirect(file, request.offset)
    return _file(file.mime, content.read(request.offset, request.limit))


def _file(mime: str, data: bytes) -> FilePart:
    kind = _KINDS.get(mime, tl.storage.FileUnknown)
    return FilePart(struct.pack("<IIi", tl.upload.File.CONSTRUCTOR_ID, kind.CONSTRUCTOR_ID, 0), data)


@handles(fn.upload.GetFileHashesRequest)
def get_file_hashes(context: RequestContext, request: Any) -> Any:
    """The hashes of some of the pieces of a document, from an offset on."""
    location = request.location
    if not isinstance(location, tl.InputDocumentFileLocation):
        raise RpcFailure(400, "LOCATION_INVALID")
    file = context.world.file(context.account, location.id, location.access_hash, location.file_reference)
    if file.dc != context.dc:
        raise RpcFailure(303, f"FILE_MIGRATE_{file.dc}")
    return block_hashes(file, request.offset)


@handles(fn.upload.GetWebFileRequest, bots=False)
def get_web_file(context: RequestContext, request: Any) -> Any:
    """A part of a file on the web (https://core.telegram.org/api/files#downloading-webfiles)."""
    location = request.location
    file = next((each for each in context.world.files.values() if web_url(each) == location.url), None)
    if file is None or location.access_hash != access.access_hash(context.account, file.id):
        raise RpcFailure(400, "LOCATION_INVALID")
    if context.dc != context.home:
        raise RpcFailure(303, f"FILE_MIGRATE_{context.home}")
    check_range(request.offset, request.limit, True)
    data = file.content.read(request.offset, request.limit)
    kind = _KINDS.get(file.mime, tl.storage.FileUnknown)()
    return tl.upload.WebFile(file.content.size, file.mime, kind, 0, data)


def check_range(offset: int, limit: int, precise: bool) -> None:
    """Check Telegram's rules: whole blocks of 4 KiB (1 KiB with `precise`), within one mebibyte.

    Without `precise` the limit must also divide a mebibyte.
    """
    block = 1024 if precise else 4096
    if offset < 0 or offset % block:
        raise RpcFailure(400, "OFFSET_INVALID")
    whole = 0 < limit <= MIB and limit % block == 0 and (precise or MIB % limit == 0)
    if not whole or offset // MIB != (offset + limit - 1) // MIB:
        raise RpcFailure(400, "LIMIT_INVALID")
