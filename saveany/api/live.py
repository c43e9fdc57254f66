"""Routes for chats that are recorded when they go live, and for their recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from saveany.api.auth import TasksPrincipal
from saveany.api.bodies import Strict
from saveany.api.errors import responses
from saveany.api.models import EXAMPLE_ID, MessageReply, Reply, StatusName, Time
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.tasks import UserId
from saveany.languages import localized
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.service.live import LiveRecording, ShownLive

router = APIRouter(prefix="/api/v1", tags=["live"], route_class=JsonRoute)


class NewLive(Strict):
    """A chat to record when it goes live."""

    chat: str = Field(
        min_length=1,
        max_length=2048,
        description="A channel or supergroup: `@name`, a link into it, or its id (-100…).",
        examples=["@channel"],
    )
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Telegram user id. Default: the caller's user."
    )
    storage: str = Field(default="", max_length=64, description="Empty: the default storage of the user.")
    dir_path: str = Field(default="", max_length=1024, description="Folder in the storage.")


class LiveView(Reply):
    """A chat that is recorded when it goes live."""

    id: str = Field(examples=["4c1f09a2be"])
    chat: str = Field(description="`@name`, or the id if it has none.", examples=["@channel"])
    chat_id: int = Field(description="-100… for a channel or supergroup.", examples=[-1001234567890])
    title: str
    user_id: int = Field(examples=[123456789])
    storage: str = Field(description="Empty: the default storage of the user.")
    dir_path: str
    created_at: Time
    problem: str = Field(description="Why it cannot be recorded now; empty if it can.")
    is_live: bool
    started_at: Time | None = Field(description="When the stream was noticed; null if the chat is not live.")
    viewers: int | None = Field(description="Null if the chat is not live.")
    task_id: str | None = Field(
        description="The recording; null if the chat is not live.", examples=[EXAMPLE_ID]
    )


class LiveList(Reply):
    """Chats that are recorded when they go live, oldest first."""

    live: list[LiveView]


class RecordingFileView(Reply):
    """A file of a recording."""

    file_id: str
    name: str
    size: int
    seconds: int = Field(description="Its length.")


class RecordingView(Reply):
    """A recording of a live stream."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: StatusName = Field(description="Of the task; `running` while the stream goes on.")
    chat: str = Field(examples=["@channel"])
    chat_id: int = Field(examples=[-1001234567890])
    title: str = Field(description="Of the chat.")
    user_id: int = Field(examples=[123456789])
    started_at: Time
    ended_at: Time | None
    seconds: int = Field(description="Length of the recording so far.")
    files: list[RecordingFileView] = Field(
        description="One file; several while the recording runs, or if it could not be joined."
    )


class RecordingList(Reply):
    """A page of recordings, oldest first."""

    recordings: list[RecordingView]
    next_cursor: str | None = Field(description="Null on the last page.")


@router.post(
    "/live",
    status_code=201,
    operation_id="createLive",
    summary="Record a chat when it goes live",
    responses=responses(403, 404, 409, 415),
)
async def create(services: InjectedServices, principal: TasksPrincipal, body: NewLive) -> LiveView:
    """Record a channel or group from now on whenever it is live, also if it is live now. Each stream becomes
    a task, which `POST /api/v1/tasks/{task_id}/stop` ends early. A user account must be able to see the
    chat. Calls of people are not recorded, only streams."""
    shown = await services.live.watch(
        principal, body.chat, user_id=body.user_id, storage=body.storage, folder=body.dir_path
    )
    return _view(shown)


@router.get(
    "/live", operation_id="listLive", summary="Chats recorded when they go live", responses=responses(404)
)
async def list_live(
    services: InjectedServices, principal: TasksPrincipal, user_id: UserId = None
) -> LiveList:
    """The chats, and which of them are live now."""
    return LiveList(live=[_view(each) for each in await services.live.all(principal, user_id)])


@router.delete(
    "/live/{live_id}",
    operation_id="deleteLive",
    summary="Record a chat no longer",
    responses=responses(404),
)
async def remove(
    services: InjectedServices,
    principal: TasksPrincipal,
    live_id: Annotated[str, Path(description="Its id.", examples=["4c1f09a2be"])],
) -> MessageReply:
    """A recording that runs goes on; stop or cancel its task."""
    await services.live.remove(principal, live_id)
    return MessageReply(message="chat no longer recorded")


@router.get(
    "/recordings",
    operation_id="listRecordings",
    summary="Recordings of live streams",
    responses=responses(404),
)
async def recordings(
    services: InjectedServices,
    principal: TasksPrincipal,
    since: Annotated[
        str, Query(alias="from", max_length=40, description="Only those that began then or later: a date.")
    ] = "",
    until: Annotated[
        str, Query(alias="to", max_length=40, description="Only those that began until then: a date.")
    ] = "",
    chat: Annotated[str, Query(max_length=100, description="Only those of this chat: `@name` or id.")] = "",
    user_id: UserId = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")] = "",
) -> RecordingList:
    """The recordings that have a file, oldest first, also those that run."""
    from saveany.service.archives import parse_date

    page = await services.live.page(
        principal,
        limit,
        cursor,
        since=parse_date(since, "from") if since else None,
        until=parse_date(until, "to") if until else None,
        chat=chat,
        user_id=user_id,
    )
    return RecordingList(
        recordings=[_recording(each) for each in page.recordings], next_cursor=page.cursor or None
    )


def _view(shown: ShownLive) -> LiveView:
    watch, live = shown.watch, shown.broadcast
    return LiveView(
        id=watch.id,
        chat=watch.name,
        chat_id=watch.chat,
        title=watch.title,
        user_id=watch.user_id,
        storage=watch.storage,
        dir_path=watch.folder,
        created_at=rfc3339(watch.created_at),
        problem=localized(shown.problem),
        is_live=live is not None,
        started_at=rfc3339(live.started_at) if live else None,
        viewers=live.viewers if live else None,
        task_id=live.task_id if live else None,
    )


def _recording(recording: LiveRecording) -> RecordingView:
    task = recording.task
    return RecordingView(
        task_id=task.id,
        status=task.status.value,
        chat=recording.chat,
        chat_id=recording.chat_id,
        title=recording.title,
        user_id=task.spec.user_id,
        started_at=rfc3339(recording.started_at),
        ended_at=rfc3339(task.finished_at) if task.finished_at else None,
        seconds=recording.seconds,
        files=[
            RecordingFileView(
                file_id=each.file.id, name=each.file.name, size=each.file.size, seconds=each.seconds
            )
            for each in recording.files
        ],
    )
