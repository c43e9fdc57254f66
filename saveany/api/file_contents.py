"""Routes that deliver saved files to those who may see them, as links do to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from saveany.api.auth import FilesPrincipal
from saveany.api.delivery import ContentReply, trust
from saveany.api.errors import responses
from saveany.api.files import FileId
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.delivery.headers import PICTURE
from saveany.delivery.response import ContentResponse
from saveany.service import Principal

if TYPE_CHECKING:
    from saveany.catalogue.link_models import Link

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=JsonRoute)

_BYTES: dict[str, Any] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
_WHOLE = {"description": "The file.", "content": {"*/*": _BYTES}}
_PICTURE = {"description": "A small picture.", "content": {"image/jpeg": _BYTES}}


@router.get(
    "/{file_id}/content",
    operation_id="readSavedFile",
    summary="Download a saved file",
    response_class=Response,
    responses={
        **responses(404),
        200: _WHOLE,
        206: {**_WHOLE, "description": "The range that was asked for."},
    },
)
@router.head("/{file_id}/content", include_in_schema=False)
async def content(
    services: InjectedServices,
    principal: FilesPrincipal,
    request: Request,
    file_id: FileId,
    inline: Annotated[bool, Query(description="To be shown or played in a browser.")] = False,
) -> Response:
    """The bytes of a saved file, or a range of them. It is not counted as a download."""
    trust(request)
    opened = await services.delivery.look(await _linked(services, principal, file_id))
    return ContentReply(ContentResponse(opened, inline=inline))


@router.get(
    "/{file_id}/thumbnail",
    operation_id="readThumbnail",
    summary="Thumbnail of a saved file",
    response_class=Response,
    responses={**responses(404), 200: _PICTURE},
)
@router.head("/{file_id}/thumbnail", include_in_schema=False)
async def thumbnail(services: InjectedServices, principal: FilesPrincipal, file_id: FileId) -> Response:
    """A small picture of a saved file; 404 if it has none."""
    data = await services.delivery.thumbnails.get(await _linked(services, principal, file_id))
    return Response(data, media_type="image/jpeg", headers=PICTURE)


async def _linked(services: ApiServices, principal: Principal, file_id: str) -> Link:
    """A saved file, as if it had a link."""
    await services.files.get(principal, file_id)
    return await services.delivery.saved(file_id)
