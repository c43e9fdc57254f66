"""Routes that serve the web UI. Its files contain no secrets; what they show comes from the other routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from saveany.api.auth import public
from saveany.errors import NotFound
from saveany.web.site import Asset, site

router = APIRouter(include_in_schema=False, dependencies=[Depends(public)])

_METHODS = ["GET", "HEAD"]
_FOREVER: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
}


@router.api_route("/", methods=_METHODS)
async def page(request: Request) -> Response:
    """The page of the web UI. Its own addresses are after a `#`, which browsers do not send."""
    found = site()
    if request.headers.get("if-none-match") == found.headers["etag"]:
        return Response(status_code=304, headers=dict(found.headers))
    return _reply(request, found.page, found.headers)


@router.api_route("/docs", methods=_METHODS)
async def docs() -> Response:
    """The reference of the API is a view of the web UI."""
    return RedirectResponse("./#/docs", 307)


@router.api_route("/assets/{version}/{path:path}", methods=_METHODS)
async def asset(request: Request, version: str, path: str) -> Response:
    """A file of the web UI. It never changes: another version of SaveAny has other addresses."""
    found = site().asset(version, path)
    if found is None:
        raise NotFound("this file belongs to another version of SaveAny; reload the page")
    return _reply(request, found, _FOREVER)


def _reply(request: Request, found: Asset, headers: Mapping[str, str]) -> Response:
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    more = {"content-encoding": "gzip"} if takes_gzip else {}
    return Response(
        found.compressed if takes_gzip else found.content,
        media_type=found.media_type,
        headers={**headers, "vary": "accept-encoding", **more},
    )
