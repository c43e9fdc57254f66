"""The route for what this SaveAny has done, as StreamBot has it (seed 000)."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from saveany import __version__
from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.models import Reply
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.store import counters

router = APIRouter(tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)])


class Info(Reply):
    """What this SaveAny has done."""

    status: str = Field(examples=["running"])
    uptime: str = Field(description="Of this process.", examples=["2 days, 14 hours"])
    users_count: int = Field(description="Number of users that are known.", examples=[1250])
    files_served: int = Field(description="How often files were downloaded by their links.", examples=[8432])
    total_bandwidth: str = Field(description="Bytes sent for links.", examples=["45.2 GB"])
    version: str = Field(examples=["1.0.0"])


@router.get("/api/info", operation_id="info", summary="Information", responses=responses())
async def info(services: InjectedServices, request: Request) -> Info:
    """What this SaveAny has done so far."""
    from saveany.delivery.page import readable

    sums = await services.store.counters.read()
    known = {user.id for user in services.config.users} | set(await services.store.preferences.users())
    return Info(
        status="running",
        uptime=duration(time.monotonic() - request.app.state.started_at),
        users_count=len(known),
        files_served=int(sums.get(counters.LINK_DOWNLOADS, 0)),
        total_bandwidth=readable(int(sums.get(counters.LINK_BYTES, 0))),
        version=__version__,
    )


def duration(seconds: float) -> str:
    """A time for people, in its two largest units, such as "2 days, 14 hours"."""
    rest = int(seconds)
    parts: list[str] = []
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        number, rest = divmod(rest, size)
        if number or parts or name == "second":
            parts.append(f"{number} {name}{'' if number == 1 else 's'}")
    return ", ".join(parts[:2])
