"""Requests of the API: live. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import LiveList, LiveView, MessageReply, NewLive, RecordingList


def list_live(*, user_id: int | None = None) -> ApiRequest[LiveList]:
    """Chats recorded when they go live.

    The chats, and which of them are live now.

    user_id: Only tasks of this user.
    """
    return ApiRequest("GET", "/api/v1/live", params={"user_id": user_id})


def create_live(body: NewLive) -> ApiRequest[LiveView]:
    """Record a chat when it goes live.

    Record a channel or group from now on whenever it is live, also if it is live now. Each stream becomes
    a task, which `POST /api/v1/tasks/{task_id}/stop` ends early. A user account must be able to see the
    chat. Calls of people are not recorded, only streams.
    """
    return ApiRequest("POST", "/api/v1/live", body=body)


def delete_live(live_id: str) -> ApiRequest[MessageReply]:
    """Record a chat no longer.

    A recording that runs goes on; stop or cancel its task.

    live_id: Its id.
    """
    return ApiRequest("DELETE", f"/api/v1/live/{quoted(live_id)}")


def list_recordings(
    *,
    from_: str | None = None,
    to: str | None = None,
    chat: str | None = None,
    user_id: int | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> ApiRequest[RecordingList]:
    """Recordings of live streams.

    The recordings that have a file, oldest first, also those that run.

    from_: Only those that began then or later: a date.

    to: Only those that began until then: a date.

    chat: Only those of this chat: `@name` or id.

    user_id: Only tasks of this user.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest(
        "GET",
        "/api/v1/recordings",
        params={"from": from_, "to": to, "chat": chat, "user_id": user_id, "limit": limit, "cursor": cursor},
    )
