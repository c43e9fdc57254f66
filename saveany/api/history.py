"""Routes for tasks that have ended."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from saveany.api.auth import TasksPrincipal
from saveany.api.errors import responses
from saveany.api.models import HistoryPageView, Removed
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.tasks import TaskId, UserId
from saveany.api.views import task_summary
from saveany.catalogue import HistoryFilter

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _check_format(text: str) -> str:
    # pydantic would also accept a number as seconds since 1970
    if not _RFC3339.fullmatch(text):
        raise PydanticCustomError("time", "must be a time with its zone, such as 2024-01-19T04:30:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_check_format)]

router = APIRouter(prefix="/api/v1/history", tags=["tasks"], route_class=JsonRoute)


@router.get("", operation_id="listHistory", summary="Ended tasks", responses=responses(404))
async def history(
    services: InjectedServices,
    principal: TasksPrincipal,
    status: Annotated[Literal["completed", "failed", "canceled"] | None, Query()] = None,
    type_: Annotated[str, Query(alias="type", max_length=64, description="Such as `tgfiles`.")] = "",
    user_id: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    storage: Annotated[str, Query(max_length=255)] = "",
    q: Annotated[str, Query(max_length=200, description="Part of title or error, ignoring case.")] = "",
    since: Annotated[Moment | None, Query(alias="from", description="Ended at or after.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Ended before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=64, description="`next_cursor` of the previous page.")] = "",
) -> HistoryPageView:
    """Ended tasks, newest first. A page may be short, even empty, and still have a `next_cursor`."""
    wanted = HistoryFilter(
        status=status or "",
        type=type_,
        user_id=user_id,
        storage=storage,
        q=q,
        since=_ms(since),
        until=_ms(until),
    )
    page = await services.tasks.history.page(principal, wanted, limit, cursor)
    return HistoryPageView(tasks=[task_summary(task) for task in page.tasks], next_cursor=page.cursor or None)


@router.delete("", operation_id="clearHistory", summary="Remove all ended tasks", responses=responses(404))
async def clear(services: InjectedServices, principal: TasksPrincipal, user_id: UserId = None) -> Removed:
    """Remove all ended tasks that the caller may see, or those of one user, and their webhooks, including
    undelivered ones. The operator removes those of all users unless `user_id` names one. The saved files are
    kept. A canceled task is kept until a worker has removed its unfinished files."""
    removed = await services.tasks.history.clear(principal, user_id)
    return Removed(message=f"{removed} task{'' if removed == 1 else 's'} removed", removed=removed)


@router.delete(
    "/{task_id}",
    operation_id="removeFromHistory",
    summary="Remove an ended task",
    responses=responses(404, 409),
)
async def remove(services: InjectedServices, principal: TasksPrincipal, task_id: TaskId) -> Removed:
    """Remove one ended task and its webhooks. The saved files are kept."""
    await services.tasks.history.remove(principal, task_id)
    return Removed(message="1 task removed", removed=1)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)
