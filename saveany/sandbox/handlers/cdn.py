"""upload.*Cdn* and help.getCdnConfig (https://core.telegram.org/cdn)."""

import hmac
import struct
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.cdn import CDN_DC, Cdn, block_hashes
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.files import FilePart, check_range
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.model import StoredFile


@handles(fn.help.GetCdnConfigRequest)
def get_cdn_config(context: RequestContext, request: Any) -> Any:
    """The keys of CDN data centers."""
    keys = [tl.CdnPublicKey(CDN_DC, context.cdn.public_key)] if context.cdn else []
    return tl.CdnConfig(keys)


@handles(fn.upload.GetCdnFileRequest, login=False)
def get_cdn_file(context: RequestContext, request: Any) -> Any:
    """A part of an encrypted file. Only the CDN implements this."""
    if context.dc != CDN_DC:
        raise RpcFailure(400, "METHOD_INVALID")
    cdn, file = _file(context, request.file_token)
    check_range(request.offset, request.limit, False)
    if file.id not in cdn.held:
        return tl.upload.CdnFileReuploadNeeded(cdn.request_token(file.id))
    head = struct.pack("<I", tl.upload.CdnFile.CONSTRUCTOR_ID)
    return FilePart(head, cdn.part(file, request.offset, request.limit))


@handles(fn.upload.ReuploadCdnFileRequest)
def reupload_cdn_file(context: RequestContext, request: Any) -> Any:
    """Upload a file to the memory of the CDN."""
    cdn, file = _file(context, request.file_token)
    if not hmac.compare_digest(request.request_token, cdn.request_token(file.id)):
        raise RpcFailure(400, "REQUEST_TOKEN_INVALID")
    cdn.held.add(file.id)
    return block_hashes(file, 0)


@handles(fn.upload.GetCdnFileHashesRequest)
def get_cdn_file_hashes(context: RequestContext, request: Any) -> Any:
    """The hashes of the blocks from an offset on."""
    _, file = _file(context, request.file_token)
    return block_hashes(file, request.offset)


def _file(context: RequestContext, token: bytes) -> tuple[Cdn, StoredFile]:
    if context.cdn is None:
        raise RpcFailure(400, "FILE_TOKEN_INVALID")
    file = context.world.files[context.cdn.file(token)]
    if context.dc not in (file.dc, CDN_DC):
        raise RpcFailure(303, f"FILE_MIGRATE_{file.dc}")
    return context.cdn, file
