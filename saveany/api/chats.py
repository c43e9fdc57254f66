"""Routes for the chats of Telegram accounts, and the files in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from saveany.api.auth import TasksPrincipal
from saveany.api.bodies import Strict
from saveany.api.errors import responses
from saveany.api.models import Reply, Time
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.filters import Filter, Kind
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.service.chats import ChatFiles
    from saveany.telegram.dialogs import Dialog

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


class ChatFilesRequest(Strict):
    """Which files of a chat to list."""

    chat: str = Field(
        min_length=1, max_length=2048, description="As for an archive.", examples=["https://t.me/channel"]
    )
    account: str = Field(
        default="", max_length=64, description="The user account that reads the chat. Default: any that can."
    )
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Whose accounts read it. Default: the caller's user."
    )
    filter: Filter = Field(default=Filter(), description="List only the files that match this filter.")
    before: int = Field(
        default=0, ge=0, lt=2**31, description="`next_before` of the previous page; 0: the newest messages."
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


def _view(found: ChatFiles) -> ChatFilesView:
    return ChatFilesView(
        title=found.state.title,
        files=[
            ChatFileView(
                message=each.message,
                name=each.name,
                kind=each.kind,
                size=each.size,
                posted_at=rfc3339(each.date_ms),
                text=each.text,
                link=each.link or None,
            )
            for each in found.files
        ],
        withheld=found.withheld,
        next_before=found.before or None,
    )


def _name(dialog: Dialog) -> str:
    """How a chat is named in requests."""
    if dialog.kind == "saved":
        return "me"
    return f"@{dialog.username}" if dialog.username else str(dialog.chat)
