"""`saveany limits`: limits on speed, running tasks and archives."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer
from rich import filesize

from saveany.cli.client import ApiClient, Json, JsonOption, TokenOption, UrlOption, call, connect
from saveany.errors import ConfigError

_SPEED_HELP = "such as 500k, 10M or 2.5M; 0: no limit."
_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


def limits(
    ctx: typer.Context,
    speed: Annotated[
        str, typer.Option(help=f"Bytes per second for all downloads together, {_SPEED_HELP}")
    ] = "",
    user_speed: Annotated[
        str, typer.Option(help=f"Bytes per second for all downloads of one user, {_SPEED_HELP}")
    ] = "",
    user_tasks: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of running tasks per user; 0: shared fairly.")
    ] = None,
    user_archives: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of archives per user; 0: no limit.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Restore the limits of the configuration.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Show or change the limits.

    A change takes effect within seconds, also for running downloads, and
    survives restarts.

    --json prints tasks_per_user, bytes_per_second,
    bytes_per_second_per_user and archives_per_user; 0 means no limit.
    """
    changes: Json = {}
    if speed:
        changes["bytes_per_second"] = _bytes("--speed", speed)
    if user_speed:
        changes["bytes_per_second_per_user"] = _bytes("--user-speed", user_speed)
    if user_tasks is not None:
        changes["tasks_per_user"] = user_tasks
    if user_archives is not None:
        changes["archives_per_user"] = user_archives
    if reset and changes:
        raise ConfigError("--reset cannot be combined with other limits; use it alone")
    found = call(connect(ctx, url, token), lambda api: _limits(api, changes, reset=reset))
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"Speed of all downloads:         {_shown(found['bytes_per_second'])}")
    typer.echo(f"Speed of one user's downloads:  {_shown(found['bytes_per_second_per_user'])}")
    typer.echo(f"Running tasks per user:         {found['tasks_per_user'] or 'shared fairly'}")
    typer.echo(f"Archives per user:              {found['archives_per_user'] or 'no limit'}")


async def _limits(api: ApiClient, changes: Json, *, reset: bool) -> Json:
    if reset:
        return await api.set_limits({})
    found = await api.get("limits")
    return await api.set_limits(found | changes) if changes else found


def _bytes(option: str, text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?)b?(?:/s)?", text.lower(), re.ASCII)
    if not found:
        raise ConfigError(
            "{option} must look like 500k, 10M or 2.5M, not {value!r}", option=option, value=text
        )
    return int(float(found[1]) * _FACTORS[found[2]])


def _shown(speed: int) -> str:
    return f"{filesize.decimal(speed)}/s" if speed else "no limit"
