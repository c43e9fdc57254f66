"""Routes for uploads in parts that can be resumed: tus 1.0 (https://tus.io)."""

from __future__ import annotations

from email.utils import formatdate
from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse, Response

from saveany.api.auth import FilesPrincipal, requirement_of
from saveany.api.errors import error_body, error_response
from saveany.api.routes import FileRoute, Handler
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.uploads import body_of, expect_upload
from saveany.errors import InvalidInput, NotFound, RequestError
from saveany.models import OnConflict, OnDuplicate
from saveany.service import Principal
from saveany.texts import Text
from saveany.uploads import tus

_OFFSET_TYPE = "application/offset+octet-stream"
_CHOICES = {"on_conflict": [*OnConflict], "on_duplicate": [*OnDuplicate]}


class TusRoute(FileRoute):
    """A route of tus: it checks the version of the protocol, and states it in each reply, also in errors."""

    def get_route_handler(self) -> Handler:
        """The handler with these checks."""
        handle = super().get_route_handler()
        requirement = requirement_of(self)

        async def versioned(request: Request) -> Response:
            try:
                if requirement:
                    requirement.check(request.scope["state"]["caller"], request.method)
                response = _version_problem(request) or await handle(request)
            except RequestError as error:
                response = error_response(error)
            response.headers["Tus-Resumable"] = tus.VERSION
            return response

        return versioned


def _version_problem(request: Request) -> Response | None:
    if request.method == "OPTIONS" or request.headers.get("tus-resumable") == tus.VERSION:
        return None
    message = Text("the header {header} must be {value}", {"header": "Tus-Resumable", "value": tus.VERSION})
    return JSONResponse(
        error_body(412, "Precondition failed", message), 412, headers={"Tus-Version": tus.VERSION}
    )


router = APIRouter(prefix="/api/v1/uploads", route_class=TusRoute, include_in_schema=False)


@router.options("")
async def options(principal: FilesPrincipal, services: InjectedServices) -> Response:
    """The extensions that are supported."""
    headers = {
        "Tus-Version": tus.VERSION,
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
    }
    if services.uploads.max_bytes:
        headers["Tus-Max-Size"] = str(services.uploads.max_bytes)
    return Response(status_code=204, headers=headers)


@router.post("")
async def begin(services: InjectedServices, principal: FilesPrincipal, request: Request) -> Response:
    """Begin an upload, or send all of it."""
    header = request.headers.get("upload-metadata", "")
    metadata = tus.parse_metadata(header)
    is_deferred = request.headers.get("upload-defer-length") == "1" and "upload-length" not in request.headers
    length = None if is_deferred else _number(request, "upload-length")
    upload = await services.uploads.begin(principal, _wanted(metadata), length, header)
    # Relative to the address of the request: a proxy may have removed the start of the path.
    headers = {"Location": f"uploads/{upload.id}", "Upload-Expires": _expires(services, upload)}
    offset = 0
    if request.headers.get("content-type") == _OFFSET_TYPE:
        offset = await _append(services, principal, request, upload.id, 0)
        headers["Upload-Offset"] = str(offset)
    if offset == upload.length:
        headers["Task-Id"] = upload.id
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}")
async def status(services: InjectedServices, principal: FilesPrincipal, upload_id: str) -> Response:
    """How much of an upload has arrived."""
    upload, offset = await services.uploads.get(principal, upload_id)
    headers = {
        "Upload-Offset": str(offset),
        **({"Upload-Defer-Length": "1"} if upload.length is None else {"Upload-Length": str(upload.length)}),
        "Upload-Expires": _expires(services, upload),
        "Cache-Control": "no-store",
    }
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    if offset == upload.length:
        headers["Task-Id"] = upload.id
    return Response(headers=headers)


@router.patch("/{upload_id}")
async def continue_(
    services: InjectedServices, principal: FilesPrincipal, request: Request, upload_id: str
) -> Response:
    """Send more of an upload."""
    if request.headers.get("content-type") != _OFFSET_TYPE:
        message = f"the Content-Type must be {_OFFSET_TYPE}"
        return JSONResponse(error_body(415, "Unsupported media type", message), 415)
    length = _number(request, "upload-length") if "upload-length" in request.headers else None
    offset = await _append(services, principal, request, upload_id, _number(request, "upload-offset"), length)
    upload, _ = await services.uploads.get(principal, upload_id)
    headers = {"Upload-Offset": str(offset), "Upload-Expires": _expires(services, upload)}
    if offset == upload.length:
        headers["Task-Id"] = upload.id
    return Response(status_code=204, headers=headers)


@router.delete("/{upload_id}")
async def end(services: InjectedServices, principal: FilesPrincipal, upload_id: str) -> Response:
    """Remove an upload."""
    await services.uploads.end(principal, upload_id)
    return Response(status_code=204)


@router.post("/{upload_id}")
async def overridden(
    services: InjectedServices,
    principal: FilesPrincipal,
    request: Request,
    upload_id: str,
    method: Annotated[str, Header(alias="x-http-method-override")] = "",
) -> Response:
    """For clients that cannot send other methods than GET and POST."""
    match method.upper():
        case "PATCH":
            return await continue_(services, principal, request, upload_id)
        case "DELETE":
            return await end(services, principal, upload_id)
        case "HEAD":
            return await status(services, principal, upload_id)
    raise NotFound("the header X-HTTP-Method-Override must be PATCH, HEAD or DELETE")


async def _append(
    services: ApiServices,
    principal: Principal,
    request: Request,
    upload_id: str,
    offset: int,
    length: int | None = None,
) -> int:
    header = request.headers.get("upload-checksum")
    checksum = tus.parse_checksum(header) if header else None
    expect_upload(request)
    return await services.uploads.append(principal, upload_id, offset, body_of(request), checksum, length)


def _wanted(metadata: dict[str, str]) -> tus.Wanted:
    """What a client wants, by the names that tus clients and this API use."""
    user = metadata.get("user_id", "")
    if user and not (user.isascii() and user.isdigit() and len(user) <= 16 and 0 < int(user) < 2**53):
        raise InvalidInput("Upload-Metadata: user_id must be the id of a user", "user_id")
    for name, choices in _CHOICES.items():
        if metadata.get(name, "") not in ("", *choices):
            raise InvalidInput(
                "Upload-Metadata: {name} must be one of {choices}",
                name,
                name=name,
                choices=", ".join(choices),
            )
    return tus.Wanted(
        name=metadata.get("filename") or metadata.get("name", ""),
        is_exact=metadata.get("exact") == "1",
        is_linked=metadata.get("linked") == "1",
        mime=metadata.get("filetype") or metadata.get("type", ""),
        user_id=int(user) if user else None,
        storage=metadata.get("storage_name") or metadata.get("storage", ""),
        folder=metadata.get("folder", ""),
        on_conflict=metadata.get("on_conflict", ""),
        on_duplicate=metadata.get("on_duplicate", ""),
    )


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        name = header.title()
        raise InvalidInput("the header {name} must be a number of bytes", name, name=name)
    return int(text)


def _expires(services: ApiServices, upload: tus.TusUpload) -> str:
    return formatdate(services.uploads.expires_at(upload), usegmt=True)
