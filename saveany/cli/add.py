"""`saveany add`: save links."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

import typer

from saveany import advice
from saveany.cli import FAILED, INTERRUPTED, load_config
from saveany.cli.bars import display
from saveany.cli.client import ApiClient, Json, JsonOption, RequestRefused, TokenOption, UrlOption, connect
from saveany.cli.follow import follow_tasks
from saveany.cli.reasons import each_of, with_reasons
from saveany.errors import ConfigError
from saveany.models import OnConflict

_LINK_HELP = (
    "Links of Telegram messages, such as https://t.me/channel/123, or other URLs. Each becomes a task."
)


def add(
    ctx: typer.Context,
    links: Annotated[list[str], typer.Argument(metavar="LINK", help=_LINK_HELP)],
    user: Annotated[
        int | None, typer.Option(min=1, help="Telegram user id. Default: the first of `users`.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Storage. Default: the user's own.")] = "",
    folder: Annotated[str, typer.Option("--dir", help="Folder inside the storage.")] = "",
    name: Annotated[str, typer.Option(help="Name for the file. Default: its own.")] = "",
    type_: Annotated[
        str, typer.Option("--type", help="Kind of task, such as directlinks. Default: the link tells.")
    ] = "",
    on_conflict: Annotated[
        OnConflict | None,
        typer.Option(help="What happens when the name is taken. Default: as the user has set it."),
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher ones of your tasks go first.")] = 0,
    webhook_url: Annotated[str, typer.Option(help="URL that is told when the task ends.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait, and show how it goes.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Save links, and print the id of the task that each becomes.

    --follow shows bars on a terminal. Elsewhere, and with --json, it prints
    one JSON object per line and event:

    {"event": "task.progress", "task_id": "…", "status": "running",
    "stage": "downloading", "progress": {…}, "at": "…"}

    `event` is created (with `link`), snapshot, task.queued, task.running,
    task.updated, task.progress, task.completed, task.failed, task.canceled or
    waiting, which says in `waiting` why a queued task is not begun or a running
    one stands still, each time that changes. The last event of a task has its final `status`, whatever its
    name is.
    Without --follow, --json prints {"task_id": "…", "link": "…"} per link.

    Exit codes: 0 all accepted, with --follow all completed; 1 a link was
    refused, a task failed or was canceled; 2 wrong usage; 130 interrupted, and
    the tasks go on.
    """
    if name and len(links) > 1:
        raise ConfigError("one --name does not do for several links")
    options = {
        "user_id": user or _first_user(ctx),
        "storage_name": storage,
        "dir_path": folder,
        "filename": name,
        "type": type_,
        "on_conflict": on_conflict and on_conflict.value,
        "priority": priority,
        "webhook_url": webhook_url,
    }
    body = {key: value for key, value in options.items() if value}
    work = _add(connect(ctx, url, token), links, body, follow=follow, as_json=as_json)
    try:
        done = asyncio.run(work)
    except KeyboardInterrupt:
        seen = advice.command("ls")
        typer.echo(f"stopped looking; tasks that were accepted go on (see `{seen}`)", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not done:
        raise typer.Exit(FAILED)


def _first_user(ctx: typer.Context) -> int:
    users = load_config(ctx, warn=False).users
    if not users:
        raise ConfigError("the configuration has no [[users]]; say for whom with --user ID")
    return users[0].id


async def _add(api: ApiClient, links: Sequence[str], body: Json, *, follow: bool, as_json: bool) -> bool:
    """Whether all went well."""
    as_json = as_json or (follow and not sys.stdout.isatty())
    async with api:
        ids = [await _create(api, link, body, follow=follow, as_json=as_json) for link in links]
        accepted = [task_id for task_id in ids if task_id]
        completed = await _follow(api, accepted, as_json=as_json) if follow else True
    return completed and len(accepted) == len(ids)


async def _create(api: ApiClient, link: str, body: Json, *, follow: bool, as_json: bool) -> str:
    """The id of the new task; empty if it was refused, which is said."""
    try:
        task_id: str = (await api.add(body | {"url": link}))["task_id"]
    except RequestRefused as error:
        typer.echo(f"error: {link}: {error.message}", err=True)
        return ""
    event = {"event": "created"} if follow else {}
    typer.echo(json.dumps({**event, "task_id": task_id, "link": link}) if as_json else task_id)
    return task_id


async def _follow(api: ApiClient, ids: Sequence[str], *, as_json: bool) -> bool:
    """Show the tasks until all have ended; whether all completed."""
    ends: list[str] = []
    with display(as_json=as_json) as screen:
        async with aclosing(with_reasons(follow_tasks(api, ids), each_of(api))) as events:
            async for event in events:
                screen.show(event)
                if event.ended:
                    ends.append(event.data["status"])
    return all(status == "completed" for status in ends)
