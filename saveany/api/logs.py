"""The route for the log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from saveany import logs
from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.models import Reply
from saveany.api.routes import JsonRoute

router = APIRouter(
    prefix="/api/v1/logs", tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)]
)


class LogLinesView(Reply):
    """Lines of the log, oldest first."""

    lines: list[str]
    position: int = Field(description="Give it as `after` to get the lines that follow.")


@router.get("", operation_id="readLog", summary="Log", responses=responses())
async def read(
    after: Annotated[int, Query(ge=0, description="`position` of the previous reply.")] = 0,
    limit: Annotated[int, Query(ge=1, le=2000, description="Maximum number of lines, the last ones.")] = 200,
) -> LogLinesView:
    """The last lines, about 256 KB, of the processes that were started together with this one, such as all of
    `saveany run`. Secrets of the configuration are masked. Processes on other machines are not included."""
    tail = logs.tail()
    found = tail.read(after) if tail else None
    return LogLinesView(lines=found.lines[-limit:] if found else [], position=found.end if found else 0)
