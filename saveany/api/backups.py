"""The route for backups."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from saveany.api.auth import OperatorPrincipal
from saveany.api.bodies import Strict
from saveany.api.delivery import trust
from saveany.api.errors import responses
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1/backup", tags=["service"], route_class=JsonRoute)

_PIECE = 1 << 20
_TAR = "application/x-tar"
_FILE: dict[str, Any] = {"schema": {"type": "string", "contentMediaType": _TAR}}


class NewBackup(Strict):
    """What a backup contains."""

    logins: bool = Field(
        default=False,
        description="Include the logins of the Telegram accounts: whoever has the file can use the accounts.",
    )


@router.post(
    "",
    operation_id="makeBackup",
    summary="Make a backup",
    response_class=Response,
    responses={**responses(415), 200: {"description": "The backup.", "content": {_TAR: _FILE}}},
)
async def make(
    services: InjectedServices, principal: OperatorPrincipal, request: Request, body: NewBackup
) -> Response:
    """The catalogue, Redis at the same moment, and the configuration with its passwords and tokens, as one
    file, which `saveany restore` brings back. Saved files are not part of it: they are in the storages."""
    trust(request)
    backup = await services.backups.make(principal, logins=body.logins)
    day = rfc3339(await services.store.db.time_ms())[:10]
    headers = {
        "content-disposition": f'attachment; filename="saveany-{day}.tar"',
        "content-length": str(os.fstat(backup.fileno()).st_size),
        "cache-control": "no-store",
    }
    return _BackupReply(backup, headers)


class _BackupReply(StreamingResponse):
    """A reply that closes its file, and so removes it, also when the client goes away."""

    def __init__(self, file: BinaryIO, headers: dict[str, str]) -> None:
        super().__init__(self._pieces(), media_type=_TAR, headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        with self._file:
            await super().__call__(scope, receive, send)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await asyncio.to_thread(self._file.read, _PIECE):
            yield piece
