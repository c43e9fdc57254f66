"""`saveany history`: tasks that have ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from saveany import advice
from saveany.cli.client import JsonOption, TokenOption, UrlOption, UserOption, call, connect
from saveany.errors import ConfigError
from saveany.models import Status


def history(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Only tasks with this text in their title or error.")] = "",
    status: Annotated[
        Status | None, typer.Option(help="Only tasks with this status: completed, failed or canceled.")
    ] = None,
    type_: Annotated[str, typer.Option("--type", help="Only tasks of this type, such as tgfiles.")] = "",
    storage: Annotated[str, typer.Option(help="Only tasks of this storage.")] = "",
    user: UserOption = None,
    since: Annotated[
        str, typer.Option("--from", help="Only tasks that ended on or after this date or time.")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Only tasks that ended before this date or time.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of tasks.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List tasks that have ended, newest first.

    Write dates and times as 2026-01-31 or 2026-01-31T18:30. They are in the time
    zone of this machine unless you add another one, as in 2026-01-31T18:30Z.

    --json prints {"tasks": […]}, with the fields of `saveany ls --json`.
    """
    if status and not status.ended:
        raise ConfigError(
            "{status} tasks have not ended; `{command}` lists them",
            status=status.value,
            command=advice.command("ls"),
        )
    filters = {
        "q": text,
        "status": status and status.value,
        "type": type_,
        "storage": storage,
        "user_id": user,
        "from": _moment("--from", since),
        "to": _moment("--to", until),
    }
    tasks = call(connect(ctx, url, token), lambda api: api.pages("history", "tasks", limit, **filters))
    if as_json:
        typer.echo(json.dumps({"tasks": tasks}))
    elif tasks:
        from saveany.cli.tables import print_tasks  # imports rich

        print_tasks(tasks)
    else:
        typer.echo(
            "No task has ended." if not any(filters.values()) else "No ended task matches the filters.",
            err=True,
        )


def _moment(option: str, text: str) -> str:
    """The time that the user typed, in the format of the API."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            "{option} must look like 2026-01-31 or 2026-01-31T18:30, not {value!r}", option=option, value=text
        ) from None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
