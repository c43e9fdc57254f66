"""`saveany history`: tasks that have ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from saveany import advice
from saveany.cli.client import JsonOption, TokenOption, UrlOption, UserOption, ask, connect
from saveany.cli.tables import print_tasks
from saveany.errors import ConfigError
from saveany.models import Status


def history(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Only tasks with this text in their title or error.")] = "",
    status: Annotated[Status | None, typer.Option(help="completed, failed or canceled.")] = None,
    type_: Annotated[str, typer.Option("--type", help="Kind of task, such as tgfiles.")] = "",
    storage: Annotated[str, typer.Option(help="Only tasks of this storage.")] = "",
    user: UserOption = None,
    since: Annotated[str, typer.Option("--from", help="Ended at or after this day or time.")] = "",
    until: Annotated[str, typer.Option("--to", help="Ended before this day or time.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Tasks to list at most.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List tasks that have ended, newest first.

    Days and times are like 2026-01-31 or 2026-01-31T18:30, in this machine's
    time zone unless they name another.

    --json prints {"tasks": […]}, whose elements are those of `saveany ls`.
    """
    if status and not status.ended:
        raise ConfigError(f"a task that is {status.value} has not ended; see `{advice.command('ls')}`")
    filters = {
        "q": text,
        "status": status and status.value,
        "type": type_,
        "storage": storage,
        "user_id": user,
        "from": _moment("--from", since),
        "to": _moment("--to", until),
    }
    tasks = ask(connect(ctx, url, token), lambda api: api.history(limit, **filters))
    if as_json:
        typer.echo(json.dumps({"tasks": tasks}))
    elif tasks:
        print_tasks(tasks)
    else:
        typer.echo("No task has ended." if not any(filters.values()) else "No ended task matches.", err=True)


def _moment(option: str, text: str) -> str:
    """The time that a person typed, as the API takes it."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} must be like 2026-01-31 or 2026-01-31T18:30, not {text!r}") from None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
