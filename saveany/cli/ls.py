"""`saveany ls`: tasks."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany import advice
from saveany.cli.client import (
    ApiClient,
    Json,
    JsonOption,
    TokenOption,
    UrlOption,
    UserOption,
    ask,
    connect,
)
from saveany.cli.tables import print_tasks
from saveany.models import Status


def ls(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Ended tasks too, newest first.")] = False,
    status: Annotated[Status | None, typer.Option(help="Only tasks with this status.")] = None,
    user: UserOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Ended tasks to list at most.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List tasks, those that are queued or running, or more with --all or --status.

    Live tasks come first, oldest first, then ended ones, newest first. A
    terminal shows the beginning of each id, which is enough for the other
    commands; elsewhere nothing is cut.

    --json prints one object, {"tasks": […]}, whose elements are the API's:
    task_id, status, title, created_at, error, type, stage, storage, path,
    user_id, progress, attempts, started_at, updated_at, finished_at.
    """
    tasks = ask(connect(ctx, url, token), lambda api: _tasks(api, status, user, limit, ended=everything))
    if as_json:
        typer.echo(json.dumps({"tasks": tasks}))
    elif tasks:
        print_tasks(tasks)
    else:
        typer.echo(_nothing(status, ended=everything), err=True)


def _nothing(status: Status | None, *, ended: bool) -> str:
    if status:
        return f"No task is {status.value}."
    if ended:
        return f"There are no tasks. Save a file: {advice.command('add LINK')}"
    return f"No task is queued or running. With ended ones: {advice.command('ls --all')}"


async def _tasks(
    api: ApiClient, status: Status | None, user: int | None, limit: int, *, ended: bool
) -> list[Json]:
    """Live tasks, then with `ended` at most `limit` that have ended; of one status only if it is given."""
    found: list[Json] = []
    if not status or not status.ended:
        found += [task for task in await api.live(user) if status in (None, task["status"])]
    if status.ended if status else ended:
        found += await api.history(limit, status=status, user_id=user)
    return found
