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
    call,
    connect,
)
from saveany.models import Status


def ls(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="List ended tasks, too.")] = False,
    status: Annotated[Status | None, typer.Option(help="Only tasks with this status.")] = None,
    user: UserOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of ended tasks.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List tasks that are queued or running; with --all or --status, others, too.

    Queued and running tasks come first, the oldest at the top, then ended tasks,
    the newest at the top. On a terminal ids are shortened; other commands accept
    the shortened ids. Otherwise nothing is shortened.

    --json prints one object, {"tasks": […]}, with these fields for each task:
    task_id, status, title, created_at, error, type, stage, storage, path,
    user_id, progress, attempts, started_at, updated_at, finished_at.
    """
    tasks = call(connect(ctx, url, token), lambda api: _tasks(api, status, user, limit, ended=everything))
    if as_json:
        typer.echo(json.dumps({"tasks": tasks}))
    elif tasks:
        from saveany.cli.tables import print_tasks  # imports rich

        print_tasks(tasks)
    else:
        typer.echo(_nothing(status, ended=everything), err=True)


def _nothing(status: Status | None, *, ended: bool) -> str:
    if status:
        return f"No task is {status.value}."
    if ended:
        return f"There are no tasks. To save a file: {advice.command('add LINK')}"
    return f"No task is queued or running. To list ended tasks: {advice.command('ls --all')}"


async def _tasks(
    api: ApiClient, status: Status | None, user: int | None, limit: int, *, ended: bool
) -> list[Json]:
    """Queued and running tasks, then, with `ended`, at most `limit` ended tasks. `status` selects one
    status."""
    found: list[Json] = []
    if not status or not status.ended:
        found += [task for task in await api.live(user) if status in (None, task["status"])]
    if status.ended if status else ended:
        found += await api.pages("history", "tasks", limit, status=status, user_id=user)
    return found
