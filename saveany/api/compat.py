"""The drive and the APIs of other hosts, in front of SaveAny's own: they have their own authentication and
errors."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.auth import public
from saveany.api.limits import BodyLimit
from saveany.api.services import ApiServices
from saveany.errors import NotFound
from saveany.foreground import Foreground

_DAV_METHODS = ["GET", "HEAD", "OPTIONS", "PROPFIND"]
#: Without a facade at such an address, there is nothing.
router = APIRouter(dependencies=[Depends(public)])


@router.api_route("/compat/{rest:path}", methods=["GET", "HEAD", "POST"], include_in_schema=False)
async def nothing(rest: str) -> None:
    """Say so also to clients without a token."""
    raise HTTPException(404)


@router.api_route("/dav", methods=_DAV_METHODS, include_in_schema=False)
@router.api_route("/dav/{rest:path}", methods=_DAV_METHODS, include_in_schema=False)
async def no_drive(rest: str = "") -> None:
    """Say that the drive is off."""
    raise NotFound("the drive is off; set enable = true in [dav] of the configuration, and restart the API")


class Facade(Protocol):
    """An application that chooses the requests that it handles."""

    def claims(self, scope: Scope) -> bool:
        """Whether a request is for it."""

    def is_upload(self, scope: Scope) -> bool:
        """Whether a request may have a body of any size."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""


def enabled_facades(services: ApiServices) -> list[Facade]:
    """The drive and the APIs of other hosts, as far as they are enabled."""
    found: list[Facade] = []
    if services.config.dav.enable:
        from saveany.dav.app import DavApp, DavServices

        found.append(DavApp(DavServices(services.config, services.keys, services.files, services.delivery)))
    if services.config.compat.openload.enable:
        from saveany.compat.openload.app import OpenloadApp
        from saveany.compat.openload.call import OpenloadServices
        from saveany.service.remote_uploads import RemoteUploadService
        from saveany.service.tickets import TicketService

        found.append(
            OpenloadApp(
                OpenloadServices(
                    services.config,
                    services.keys,
                    TicketService(services.store, services.keys),
                    services.reader,
                    services.files,
                    services.links,
                    services.uploads,
                    RemoteUploadService(services.store, services.catalogue, services.tasks, services.reader),
                    services.delivery,
                    services.conversions,
                )
            )
        )
    if services.config.compat.streamapi.enable:
        from saveany.compat.streamapi.app import StreamApiApp
        from saveany.compat.streamapi.call import StreamApiServices
        from saveany.compat.streamapi.live import RecordedChats

        found.append(
            StreamApiApp(
                StreamApiServices(
                    services.config,
                    services.keys,
                    services.store.stream_sessions,
                    services.links,
                    RecordedChats(services.live),
                )
            )
        )
    return found


class Facades:
    """Middleware: gives requests to the API of another host if they are for it."""

    def __init__(self, app: ASGIApp, facades: list[Facade], foreground: Foreground) -> None:
        self._app = app
        self._foreground = foreground
        self._facades = [(each, BodyLimit(each, each.is_upload)) for each in facades]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        is_http = scope["type"] == "http"
        facade = next((limited for each, limited in self._facades if is_http and each.claims(scope)), None)
        if facade is None:
            await self._app(scope, receive, send)
        else:
            with self._foreground.work():
                await facade(scope, receive, send)
