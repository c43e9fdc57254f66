"""Routes for API processes on other machines. Requests are signed with a secret of all machines."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from saveany.api.auth import public
from saveany.api.delivery import ContentReply
from saveany.api.services import ApiServices
from saveany.delivery.response import ContentResponse
from saveany.errors import InvalidInput

# Public, because the signature says who sends them.
router = APIRouter(prefix="/internal", dependencies=[Depends(public)], include_in_schema=False)

_METHODS = ["GET", "HEAD"]


@router.api_route("/files/{file_id}", methods=_METHODS)
async def file(request: Request, file_id: str) -> Response:
    """A saved file whose disk is in this machine."""
    services: ApiServices = request.app.state.services
    await services.delivery.peers.verify(request.headers, _target(request))
    content = await services.delivery.file_here(file_id)
    return ContentReply(ContentResponse(content))


@router.api_route("/media", methods=_METHODS)
async def media(request: Request, source: str) -> Response:
    """A file in a Telegram message that a login of this machine can read."""
    services: ApiServices = request.app.state.services
    await services.delivery.peers.verify(request.headers, _target(request))
    content = await services.delivery.media_here(_decode(source))
    return ContentReply(ContentResponse(content))


def _target(request: Request) -> str:
    path: str = request.scope["raw_path"].decode("latin-1")
    query: str = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _decode(source: str) -> dict[str, Any]:
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(source), type=dict[str, Any])
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise InvalidInput("this is not a file in Telegram", "source") from error
