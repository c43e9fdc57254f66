"""The route for archives of chats whose files another program has saved."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from saveany.api.archive_models import AdoptionView, FoundFileView
from saveany.api.archives import FIELDS, archive_view
from saveany.api.auth import OperatorPrincipal
from saveany.api.errors import responses
from saveany.api.requests import named
from saveany.api.routes import FileRoute, has_body
from saveany.api.services import InjectedServices
from saveany.api.uploads import body_of, drop, expect_upload
from saveany.errors import RequestError

#: Maximum number of files that a reply names.
_EXAMPLES = 100
_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "`result.json` of Telegram Desktop (one chat, or the whole account), or the JSON of "
        "`tdl chat export`, of any size; or nothing.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(prefix="/api/v1/archives", tags=["archives"], route_class=FileRoute)


@router.post(
    "/adopt",
    operation_id="adoptFolder",
    summary="Archive a chat, and adopt files",
    responses=responses(403, 404, 409),
    openapi_extra=_BODY,
)
async def adopt(
    services: InjectedServices,
    principal: OperatorPrincipal,
    request: Request,
    chat: Annotated[
        str,
        Query(
            min_length=1, max_length=2048, description="As in `POST /api/v1/archives`.", examples=["@channel"]
        ),
    ],
    dir_path: Annotated[
        str,
        Query(
            min_length=1,
            max_length=1024,
            description="Folder in the storage with the files; what is missing is saved there. `/` is the "
            "root of the storage.",
            examples=["/old/channel"],
        ),
    ],
    storage: Annotated[
        str, Query(max_length=64, description="Default: the default storage of the user.")
    ] = "",
    user_id: Annotated[
        int | None, Query(ge=1, lt=2**53, description="Telegram user id. Default: the first user.")
    ] = None,
    account: Annotated[
        str, Query(max_length=64, description="The user account that reads the chat. Default: any that can.")
    ] = "",
    follow: Annotated[bool, Query(description="Save new messages, too, from then on.")] = False,
    trial: Annotated[bool, Query(description="Only say what would be adopted: make no archive.")] = False,
) -> AdoptionView:
    """Archive a chat whose files another program has saved, and fetch only the rest. A file belongs to a
    message if the export in the body says so, or else its name, as tdl and telegram_media_downloader name
    files; and if its size is right. Other files are compared by size and contents. Nothing is moved or
    changed in the folder. A second request of the same kind is refused (409). Only operators may do this."""
    from saveany.service.archives import ArchiveRequest

    wanted = ArchiveRequest(
        chat=chat, user_id=user_id, storage=storage, folder=dir_path, follow=follow, account=account
    )
    expect_upload(request)
    export = body_of(request) if has_body(request.headers) else None
    try:
        with named(FIELDS):
            done = await services.adoption.adopt(principal, wanted, export, trial=trial)
    except RequestError:
        await drop(export)
        raise
    shown = None if trial else archive_view(await services.archives.get(principal, done.archive.id))
    files = {each.path: each.size for each in done.files}
    return AdoptionView(
        archive=shown,
        chat_id=done.archive.chat,
        title=done.archive.title,
        storage=done.storage,
        dir_path=done.archive.folder,
        files=len(files),
        bytes=sum(files.values()),
        known=sum(bool(each.message) for each in done.files),
        truncated=done.is_truncated,
        examples=[
            FoundFileView(path=each.path, size=each.size, message=each.message)
            for each in done.files[:_EXAMPLES]
        ],
    )
