"""Routes for the chats of Telegram accounts, and the files in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from saveany import tables
from saveany.api.auth import TasksPrincipal
from saveany.api.bodies import Strict
from saveany.api.delivery import trust
from saveany.api.errors import responses
from saveany.api.models import Reply, Time
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.errors import TaskError
from saveany.filters import Filter, Kind
from saveany.logs import get_logger
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.service.chats import ChatExport, ChatFile, ChatFiles
    from saveany.telegram.dialogs import Dialog

ExportFormat = Literal["jsonl", "csv"]

_MEDIA_TYPES: dict[ExportFormat, str] = {"jsonl": "application/jsonl", "csv": "text/csv"}
_EXPORTED: dict[str, Any] = {
    "description": "The files.",
    "content": {each: {"schema": {"type": "string"}} for each in _MEDIA_TYPES.values()},
}

log = get_logger("saveany.api")

router = APIRouter(prefix="/api/v1/chats", tags=["archives"], route_class=JsonRoute)


class ChatView(Reply):
    """A chat of an account."""

    chat: str = Field(description="`@name`, or the id if it has none.", examples=["@channel"])
    title: str
    kind: Literal["channel", "group", "person", "bot", "saved"]
    last_at: Time | None = Field(description="When its newest message was posted.")


class ChatList(Reply):
    """Chats of an account, those with the newest messages first."""

    chats: list[ChatView]


class _ChatRequest(Strict):
    """Which chat to read, and as whom."""

    chat: str = Field(
        min_length=1, max_length=2048, description="As for an archive.", examples=["https://t.me/channel"]
    )
    account: str = Field(
        default="", max_length=64, description="The user account that reads the chat. Default: any that can."
    )
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Whose accounts read it. Default: the caller's user."
    )


class ChatFilesRequest(_ChatRequest):
    """Which files of a chat to list."""

    filter: Filter = Field(default=Filter(), description="List only the files that match this filter.")
    before: int = Field(
        default=0, ge=0, lt=2**31, description="`next_before` of the previous page; 0: the newest messages."
    )


class ChatExportRequest(_ChatRequest):
    """Which files of a chat to export."""

    filter: Filter = Field(default=Filter(), description="Export only the files that match this filter.")
    format: ExportFormat = Field(
        default="jsonl",
        description="`jsonl`: a JSON object per line; `csv`: a table with the same names, in which an "
        "apostrophe precedes what a spreadsheet would take for a formula.",
    )
    after_message: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="Only messages with higher numbers. That of the last line continues an export that has "
        "broken off.",
    )
    last_message: int = Field(
        default=0, ge=0, lt=2**31, description="No messages with higher numbers; 0: up to the newest one."
    )


class ChatFileView(Reply):
    """A file in a message."""

    message: int = Field(examples=[1200])
    name: str = Field(examples=["Holiday.mkv"])
    kind: Kind
    size: int
    posted_at: Time
    text: str = Field(description="Of the message, or of the album.")
    link: str | None = Field(
        description="With which a task saves it; null in private chats, which only archives save.",
        examples=["https://t.me/c/1234567890/1200?single"],
    )


class ChatFilesView(Reply):
    """Files of a chat, newest first. A page may have no files, and still be followed by others."""

    title: str
    files: list[ChatFileView]
    withheld: int = Field(description="Messages of the page whose files cannot be saved.")
    next_before: int | None = Field(description="Null on the last page.")


@router.get(
    "",
    operation_id="listChats",
    summary="Chats of an account",
    responses=responses(403, 404, 409, 503),
)
async def list_chats(
    services: InjectedServices,
    principal: TasksPrincipal,
    account: Annotated[
        str, Query(max_length=64, description="The user account. Default: the first of the caller's.")
    ] = "",
) -> ChatList:
    """The chats of a user account, at most 1,000, those with the newest messages first. Users see those of
    accounts that the configuration gives to them, without one an empty list."""
    return ChatList(
        chats=[
            ChatView(
                chat=_name(each),
                title=each.title,
                kind=each.kind,
                last_at=rfc3339(each.last_ms) if each.last_ms else None,
            )
            for each in await services.chats.dialogs(principal, account)
        ]
    )


@router.post(
    "/files",
    operation_id="listChatFiles",
    summary="Files of a chat",
    responses=responses(403, 404, 409, 413, 415, 503),
)
async def list_files(
    services: InjectedServices, principal: TasksPrincipal, body: ChatFilesRequest
) -> ChatFilesView:
    """The files in the messages of a chat, newest first, so that some can be chosen and saved by their links.
    Each request reads at most 500 messages."""
    user = services.preferences.user(principal, body.user_id)
    found = await services.chats.files(principal, user, body.chat, body.account, body.filter, body.before)
    return _view(found)


@router.post(
    "/export",
    operation_id="exportChat",
    summary="Export the list of files of a chat",
    response_class=Response,
    responses={**responses(403, 404, 409, 413, 415, 429, 503), 200: _EXPORTED},
)
async def export(
    services: InjectedServices, principal: TasksPrincipal, request: Request, body: ChatExportRequest
) -> Response:
    """All files in the messages of a chat, oldest first, without downloading them: the fields of `POST
    /api/v1/chats/files`, sent while the chat is read. `POST /api/v1/tasks/list` saves them. If Telegram
    demands a wait, the rest follows after it; if the chat cannot be read any more, the connection breaks."""
    user = services.preferences.user(principal, body.user_id)
    found = await services.chats.export(
        principal, user, body.chat, body.account, body.filter, body.after_message, body.last_message
    )
    trust(request)
    encode = _csv_lines if body.format == "csv" else _json_lines
    # Without the second header nginx buffers the reply.
    headers = {
        "content-disposition": f'attachment; filename="export.{body.format}"',
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    return _ExportReply(found, encode, media_type=_MEDIA_TYPES[body.format], headers=headers)


class _ExportReply(StreamingResponse):
    """A reply that breaks off, so that the client notices, if the chat cannot be read any more."""

    def __init__(
        self,
        export: ChatExport,
        encode: Callable[[list[ChatFileView]], str],
        *,
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(_encoded(export.pages, encode), media_type=media_type, headers=headers)
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the files."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._export.close()

    async def stream_response(self, send: Send) -> None:
        """Send the pieces."""
        try:
            await super().stream_response(send)
        except TaskError as error:
            log.warning("export_broken_off", reason=error.message)


async def _encoded(
    pages: AsyncIterator[list[ChatFile]], encode: Callable[[list[ChatFileView]], str]
) -> AsyncIterator[bytes]:
    yield encode([]).encode()
    async for files in pages:
        if files:
            yield encode([_file_view(each) for each in files]).encode()


def _json_lines(files: list[ChatFileView]) -> str:
    return "".join(f"{each.model_dump_json()}\n" for each in files)


def _csv_lines(files: list[ChatFileView]) -> str:
    """The rows of some files; the names of the columns for none."""
    if not files:
        return tables.row(ChatFileView.model_fields)
    return "".join(tables.row(each.model_dump().values()) for each in files)


def _view(found: ChatFiles) -> ChatFilesView:
    return ChatFilesView(
        title=found.state.title,
        files=[_file_view(each) for each in found.files],
        withheld=found.withheld,
        next_before=found.before or None,
    )


def _file_view(file: ChatFile) -> ChatFileView:
    return ChatFileView(
        message=file.message,
        name=file.name,
        kind=file.kind,
        size=file.size,
        posted_at=rfc3339(file.date_ms),
        text=file.text,
        link=file.link or None,
    )


def _name(dialog: Dialog) -> str:
    """How a chat is named in requests."""
    if dialog.kind == "saved":
        return "me"
    return f"@{dialog.username}" if dialog.username else str(dialog.chat)
