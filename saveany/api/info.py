"""The route for what this SaveAny has done, as StreamBot has it (seed 000)."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from saveany import __version__
from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.models import Reply, Time
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.config.schema import LinksConfig
from saveany.store import counters
from saveany.store.traffic import Traffic
from saveany.timefmt import rfc3339

router = APIRouter(tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)])


class Features(Reply):
    """What links do here."""

    force_subscribe: bool = Field(description="Whether users must join a chat for a link from the bot.")
    force_subscribe_channel_id: str | None = Field(description="The first of these chats.")
    link_expiry_enabled: bool
    link_expiry_duration_seconds: int
    link_expiry_duration_human: str = Field(examples=["30 days, 0 hours"])


class Bandwidth(Reply):
    """What links have sent this month."""

    month: str = Field(examples=["2026-11"])
    used_bytes: int
    used_gb: float
    limit_enabled: bool
    limit_gb: int = Field(description="0 if there is no limit.")
    remaining_gb: float | None = Field(description="Null if there is no limit.")


class Info(Reply):
    """What this SaveAny has done. The first six are those of StreamBot's documentation, the others those of
    its later versions."""

    status: str = Field(examples=["running"])
    uptime: str = Field(description="Of this process.", examples=["2 days, 14 hours"])
    users_count: int = Field(description="Number of users that are known.", examples=[1250])
    files_served: int = Field(description="How often files were downloaded by their links.", examples=[8432])
    total_bandwidth: str = Field(description="Bytes sent for links.", examples=["45.2 GB"])
    version: str = Field(examples=["1.0.0"])
    features: Features
    bandwidth_info: Bandwidth
    totaluser: int = Field(description="As `users_count`.", examples=[1250])
    server_time_utc: Time


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
        features=_features(services.config.links),
        bandwidth_info=_bandwidth(services.config.links, await services.store.traffic.this_month()),
        totaluser=len(known),
        server_time_utc=rfc3339(await services.store.db.time_ms()),
    )


def _features(links: LinksConfig) -> Features:
    seconds = links.ttl_days * 24 * 3600
    return Features(
        force_subscribe=bool(links.must_join),
        force_subscribe_channel_id=next(iter(links.must_join), None),
        link_expiry_enabled=bool(seconds),
        link_expiry_duration_seconds=seconds,
        link_expiry_duration_human=duration(seconds),
    )


def _bandwidth(links: LinksConfig, traffic: Traffic) -> Bandwidth:
    used, limit = round(traffic.sent / 10**9, 3), links.monthly_gb
    return Bandwidth(
        month=traffic.month,
        used_bytes=traffic.sent,
        used_gb=used,
        limit_enabled=bool(limit),
        limit_gb=limit,
        remaining_gb=max(0.0, round(limit - used, 3)) if limit else None,
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
