"""The route that makes tasks of a list of links."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from saveany.api.auth import TasksPrincipal
from saveany.api.errors import responses
from saveany.api.models import EXAMPLE_ID, Reply
from saveany.api.requests import check_link_is_enough, named
from saveany.api.routes import FileRoute
from saveany.api.services import InjectedServices
from saveany.api.tasks import IdempotencyKey
from saveany.api.uploads import body_of, drop, expect_upload
from saveany.errors import RequestError
from saveany.languages import localized
from saveany.models import OnConflict, OnDuplicate
from saveany.planning.source_choice import source_of
from saveany.service import TaskRequest
from saveany.service.list_reader import ListFormat
from saveany.service.lists import MAX_PROBLEMS, SavedList

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The list: links one per line (`#` begins a comment), CSV whose first line names the "
        "columns, JSON Lines with a `link` in each, `result.json` of Telegram Desktop, or the JSON of "
        "`tdl chat export`; UTF-8, of any size.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=FileRoute)


class ListTaskView(Reply):
    """A task that was made of a list."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    type: str = Field(examples=["tgfiles"])
    links: int = Field(description="Number of links.", examples=[250])


class ListProblemView(Reply):
    """Something in a list that was left out."""

    line: int | None = Field(description="Number of the line; null in an export.", examples=[17])
    message: int | None = Field(description="Number of the message in an export; else null.")
    count: int = Field(description="Number of messages that this concerns, from this one on; 1 for a line.")
    link: str = Field(description="As it is in the list.", examples=["https://t.me/channel"])
    reason: str = Field(examples=["This link names a chat but no message."])


class SavedListView(Reply):
    """What has become of a list."""

    format: ListFormat = Field(description="What the list is; an export is that of Telegram Desktop or tdl.")
    tasks: list[ListTaskView] = Field(description="Empty if no link was accepted.")
    links: int = Field(description="Number of links that are saved.", examples=[250])
    duplicates: int = Field(description="Links that occurred before.")
    refused: int = Field(description="Lines or messages that were left out.")
    without_file: int = Field(description="Messages of an export without a file.")
    truncated: bool = Field(description="Whether an export ends in the middle; what is before it is saved.")
    problems: list[ListProblemView] = Field(
        description=f"Why they were left out; at most {MAX_PROBLEMS:,}, the first ones."
    )


@router.post(
    "/list",
    status_code=201,
    operation_id="createTasksFromList",
    summary="Save a list of links",
    responses=responses(403, 404, 422, 507),
    openapi_extra=_BODY,
)
async def create_from_list(
    services: InjectedServices,
    principal: TasksPrincipal,
    key: IdempotencyKey,
    request: Request,
    user_id: Annotated[
        int | None, Query(ge=1, lt=2**53, description="Default: the caller, else the first configured user.")
    ] = None,
    column: Annotated[
        str,
        Query(max_length=255, description="The column of CSV with the links. Default: `link` or `url`."),
    ] = "",
    type_: Annotated[
        str, Query(alias="type", max_length=64, description="As in `POST /api/v1/tasks`, for all links.")
    ] = "",
    storage_name: Annotated[
        str,
        Query(
            max_length=255,
            description="Default: chosen by the user's rules or default, else the user's first storage.",
        ),
    ] = "",
    dir_path: Annotated[
        str,
        Query(
            max_length=4096,
            description="Folder inside the storage; `/` is its root. Default: chosen by the user's rules or "
            "default.",
        ),
    ] = "",
    filename: Annotated[
        str, Query(max_length=1024, description="Name for the file, if the list has a single link.")
    ] = "",
    on_conflict: Annotated[
        Literal["rename", "overwrite", "skip"] | None,
        Query(description="What to do if a file with this name exists. Default: the user's setting."),
    ] = None,
    on_duplicate: Annotated[
        Literal["save", "skip", "link"] | None,
        Query(description="What to do if the user has saved the same file. Default: the user's setting."),
    ] = None,
    priority: Annotated[
        int, Query(ge=-100, le=100, description="Tasks of one user with a higher priority start first.")
    ] = 0,
    webhook_url: Annotated[
        str, Query(max_length=2048, description="Receives a webhook when one of the tasks ends.")
    ] = "",
) -> SavedListView:
    """Create tasks for the links of a list, each with up to 10,000 of them. A link that occurs again is taken
    once, a line that is wrong is reported, and the others are saved. Of an export, the messages with files
    are saved. The options are those of all links."""
    expect_upload(request)
    body = body_of(request)
    wanted = TaskRequest(
        type=type_,
        user_id=user_id,
        storage=storage_name,
        folder=dir_path,
        filename=filename,
        on_conflict=OnConflict(on_conflict) if on_conflict else None,
        on_duplicate=OnDuplicate(on_duplicate) if on_duplicate else None,
        priority=priority,
        webhook_url=webhook_url,
    )
    try:
        if type_:
            check_link_is_enough(source_of(services.config, type_))
        with named({"storage": "storage_name", "folder": "dir_path"}):
            saved = await services.lists.save(principal, wanted, body, column=column, key=key)
    except RequestError:
        await drop(body)
        raise
    return _view(saved)


def _view(saved: SavedList) -> SavedListView:
    is_export = saved.format == "export"
    return SavedListView(
        format=saved.format,
        tasks=[ListTaskView(task_id=each.id, type=each.type, links=each.links) for each in saved.tasks],
        links=saved.links,
        duplicates=saved.duplicates,
        refused=saved.refused,
        without_file=saved.without_file,
        truncated=saved.is_truncated,
        problems=[
            ListProblemView(
                line=None if is_export else each.place,
                message=each.place if is_export else None,
                count=each.count,
                link=each.link,
                reason=localized(each.reason),
            )
            for each in saved.problems
        ],
    )
