"""The route that receives a file in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from msgspec.structs import replace
from starlette.requests import ClientDisconnect

from saveany.api.auth import FilesPrincipal
from saveany.api.errors import responses
from saveany.api.models import Created
from saveany.api.requests import named
from saveany.api.routes import FileRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.tasks import IdempotencyKey
from saveany.errors import InvalidInput
from saveany.service import Principal
from saveany.store import Accepted
from saveany.timefmt import rfc3339
from saveany.uploads.multipart import boundary_of, first_file
from saveany.uploads.tus import Wanted

#: Bytes of a form that may be more than its file.
_FORM_BYTES = 8192
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file, with its Content-Type, or a form: the first part with a file "
        "name is the file, the other parts are ignored.",
        "content": {
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=FileRoute)


@router.post(
    "",
    status_code=201,
    operation_id="uploadFile",
    summary="Upload a file",
    responses=responses(403, 404, 413, 422, 507),
    openapi_extra=_BODY,
)
async def upload(
    services: InjectedServices,
    principal: FilesPrincipal,
    key: IdempotencyKey,
    request: Request,
    name: Annotated[
        str,
        Query(
            max_length=1024, description="Name for the file. A form has one: that of its file is the default."
        ),
    ] = "",
    folder: Annotated[
        str,
        Query(
            max_length=4096,
            description="Folder inside the storage; `/` is its root. Default: chosen by the user's rules or "
            "default.",
        ),
    ] = "",
    storage_name: Annotated[
        str,
        Query(
            max_length=255,
            description="Default: chosen by the user's rules or default, else the user's first storage.",
        ),
    ] = "",
    user_id: Annotated[
        int | None, Query(ge=1, lt=2**53, description="Default: the caller, else the first configured user.")
    ] = None,
    on_conflict: Annotated[
        Literal["rename", "overwrite", "skip"] | None,
        Query(description="What to do if a file with this name exists. Default: the user's setting."),
    ] = None,
    on_duplicate: Annotated[
        Literal["save", "skip", "link"] | None,
        Query(description="What to do if the user has saved the same file. Default: the user's setting."),
    ] = None,
) -> Created:
    """Upload a file. A task moves it to its storage; the reply names the task.

    Large files are better uploaded in parts that can be resumed: `/api/v1/uploads` speaks tus 1.0."""
    wanted = Wanted(
        name=name,
        is_exact=bool(name),
        mime=request.headers.get("content-type", ""),
        user_id=user_id,
        storage=storage_name,
        folder=folder,
        on_conflict=on_conflict or "",
        on_duplicate=on_duplicate or "",
    )
    accepted = await _receive(services, principal, request, wanted, key)
    return Created(
        task_id=accepted.id,
        message="task created successfully",
        type=accepted.type,
        status="queued",
        created_at=rfc3339(accepted.created_at),
    )


async def _receive(
    services: ApiServices, principal: Principal, request: Request, wanted: Wanted, key: str
) -> Accepted:
    """Receive a file and create its task. What can be refused is refused before anything is read."""
    expect_upload(request)
    uploads, size = services.uploads, _content_length(request)
    if wanted.mime.partition(";")[0].strip().lower() != "multipart/form-data":
        if not wanted.name:
            raise InvalidInput("a name is needed: send ?name=, or the file in a form", "name")
        await _check(services, principal, wanted, size or 0)
        return await uploads.receive(principal, wanted, body_of(request), size, key=key)
    boundary = boundary_of(wanted.mime)
    await _check(services, principal, wanted, max(0, (size or 0) - _FORM_BYTES))
    body = body_of(request)
    part = await first_file(body, boundary)
    named = replace(wanted, name=wanted.name or part.name, mime=part.content_type)
    return await uploads.receive(principal, named, _to_the_end(part.content, body), key=key)


async def _to_the_end(content: AsyncIterator[bytes], body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content, and then the rest of the body, which is dropped: a signature covers all of it."""
    async for piece in content:
        yield piece
    async for _ in body:
        pass


async def _check(services: ApiServices, principal: Principal, wanted: Wanted, size: int) -> None:
    with named({"storage": "storage_name", "filename": "name"}):
        await services.uploads.check(principal, wanted, size)


def _content_length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def expect_upload(request: Request) -> None:
    """Give the body as much time as it needs, unless it stops."""
    expect = request.scope.get("state", {}).get("expect_upload")
    if expect:
        expect()


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces. Raises `InvalidInput` if the client disconnects before its end."""
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect:
        raise InvalidInput("the connection was closed before the end of the body") from None


async def drop(body: AsyncIterator[bytes] | None) -> None:
    """Read the rest of a body: a client that is still sending would not see the reply."""
    if body:
        async for _ in body:
            pass
