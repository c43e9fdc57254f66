"""`saveany live`: chats that are recorded when they go live."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from saveany.cli import usage
from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, UserOption, call, connect, printable

app = typer.Typer(
    cls=usage.CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Record chats when they go live.",
)


@app.command()
def add(
    ctx: typer.Context,
    chat: Annotated[str, typer.Argument(metavar="CHAT", help="@name, a link into the chat, or its id.")],
    storage: Annotated[str, typer.Option(help="Storage. Default: that of the user.")] = "",
    path: Annotated[str, typer.Option(help="Folder in the storage.")] = "",
    user: Annotated[int | None, typer.Option(min=1, help="Telegram user id of the owner.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Record a channel or group from now on whenever it is live.

    Each stream becomes a task; `saveany stop` ends it early and keeps the
    recording, `saveany cancel` removes it. --json prints the fields of
    `POST /api/v1/live`.
    """
    body: Json = {"chat": chat, "storage": storage, "dir_path": path}
    if user is not None:
        body["user_id"] = user
    made = call(connect(ctx, url, token), lambda api: api.post("live", body))
    typer.echo(json.dumps(made) if as_json else printable(f"{made['id']} {made['title']}"))
    if made["problem"] and not as_json:
        typer.echo(printable(made["problem"]), err=True)


@app.command("list")
def list_(
    ctx: typer.Context,
    user: UserOption = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the chats that are recorded when they go live, oldest first.

    --json prints {"live": […]}, with the fields of `GET /api/v1/live`.
    """
    found = call(connect(ctx, url, token), lambda api: api.get("live", user_id=user))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["live"]:
        from saveany.cli.tables import new_table, print_table  # imports rich

        table = new_table("ID", "CHAT", "STATE", "TASK", wide="CHAT")
        for each in found["live"]:
            state = each["problem"] or ("live" if each["is_live"] else "waiting")
            table.add_row(each["id"], printable(each["title"]), printable(state), each["task_id"] or "")
        print_table(table)
    else:
        typer.echo("No chat is recorded when it goes live.", err=True)


@app.command()
def remove(
    ctx: typer.Context,
    live_id: Annotated[str, typer.Argument(metavar="ID", help="Id in the list.")],
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Record a chat no longer. A recording that runs goes on."""
    typer.echo(call(connect(ctx, url, token), lambda api: api.delete(f"live/{live_id}"))["message"])


@app.command()
def recordings(
    ctx: typer.Context,
    since: Annotated[str, typer.Option("--from", help="Only those that began then or later: a date.")] = "",
    until: Annotated[str, typer.Option("--to", help="Only those that began until then: a date.")] = "",
    chat: Annotated[str, typer.Option(help="Only those of this chat: @name or id.")] = "",
    user: UserOption = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List recordings, oldest first, also those that run.

    --json prints {"recordings": […]}, with the fields of `GET /api/v1/recordings`.
    """
    wanted: dict[str, str | int | None] = {"from": since, "to": until, "chat": chat, "user_id": user}
    found = call(
        connect(ctx, url, token), lambda api: api.pages("recordings", "recordings", sys.maxsize, **wanted)
    )
    if as_json:
        typer.echo(json.dumps({"recordings": found}))
    elif found:
        from saveany.cli.tables import new_table, print_table  # imports rich

        table = new_table("BEGAN", "STATUS", "SECONDS", "CHAT", "FILE", wide="FILE", right=("SECONDS",))
        for each in found:
            for file in each["files"]:
                row = each["started_at"], each["status"], str(file["seconds"]), each["title"], file["name"]
                table.add_row(*map(printable, row))
        print_table(table)
    else:
        typer.echo("There are no recordings.", err=True)
