"""`saveany show`: one task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import filesize

from saveany.cli.bars import amount
from saveany.cli.client import ApiClient, Json, JsonOption, TokenOption, UrlOption, call, connect, printable


def show(
    ctx: typer.Context,
    task_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the task, or its first characters if they are unique.")
    ],
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Show everything about one task, including its files.

    --json prints the API's object: the fields of `saveany ls --json`, and items,
    items_total and webhook.
    """
    task = call(connect(ctx, url, token), lambda api: _task(api, task_id))
    if as_json:
        typer.echo(json.dumps(task))
        return
    for name, value in _facts(task):
        typer.echo(f"{name:10}{printable(value)}")
    for item in task["items"]:
        typer.echo(printable(_item(item)))


async def _task(api: ApiClient, task_id: str) -> Json:
    return await api.task(await api.find(task_id))


def _facts(task: Json) -> Iterator[tuple[str, str]]:
    progress, webhook = task["progress"], task["webhook"]
    stage = f" ({task['stage']})" if task["stage"] else ""
    yield "task", task["task_id"]
    yield "status", task["status"] + stage
    if waiting := task.get("waiting"):
        yield "waiting", waiting
    yield "title", task["title"]
    if task["error"]:
        yield "error", task["error"]
    yield "storage", f"{task['storage']}:{task['path']}"
    yield "user", str(task["user_id"])
    yield "progress", f"{progress['percent']} %, {amount(progress)}, {_done(progress['done_files'])}"
    for name in ("created", "started", "finished"):
        yield name, task[f"{name}_at"] or "-"
    yield "attempts", str(task["attempts"])
    if webhook:
        yield (
            "webhook",
            f"{webhook['state']}, attempts: {webhook['attempts']}, status: {webhook['last_status']}",
        )
    yield "files", str(task["items_total"])


def _done(files: int) -> str:
    return "1 file done" if files == 1 else f"{files} files done"


def _item(item: Json) -> str:
    size = "size unknown" if item["size"] is None else filesize.decimal(item["size"])
    location = f"{item['storage']}:{item['path']}" if item.get("storage") else item["path"]
    details = (item.get(name) for name in ("sha256", "url", "note", "error"))
    return "  ".join(["", f"{item['status']:9}", location, size, *(text for text in details if text)])
