"""`saveany trash`: deleted files."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany.cli import usage
from saveany.cli.client import JsonOption, TokenOption, UrlOption, UserOption, call, connect, printable
from saveany.cli.files import FileArgument, print_files, quoted

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="List, restore and remove deleted files.",
)


@app.callback()
def trash(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List, restore and remove deleted files. Without a command it lists them."""
    if not ctx.invoked_subcommand:
        list_(ctx, as_json=as_json, url=url, token=token)


@app.command("list")
def list_(
    ctx: typer.Context,
    user: UserOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of files.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the files in the trash, those deleted last first.

    --json prints {"files": […]}, with the fields of `GET /api/v1/trash`.
    """
    found = call(connect(ctx, url, token), lambda api: api.pages("trash", "files", limit, user_id=user))
    if as_json:
        typer.echo(json.dumps({"files": found}))
    elif found:
        print_files(found, since="deleted_at")
    else:
        typer.echo("The trash is empty.", err=True)


@app.command()
def restore(ctx: typer.Context, file_id: FileArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Take a file out of the trash. Its links work again."""
    file = call(connect(ctx, url, token), lambda api: api.post(f"files/{quoted(file_id)}/restore"))
    typer.echo(printable(f"{file['file_id']} {file['folder'].rstrip('/')}/{file['name']}"))


@app.command()
def empty(
    ctx: typer.Context,
    user: UserOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Have the copies of all files in the trash removed. This cannot be undone."""
    if not yes:
        typer.confirm("Remove all files in the trash for good?", abort=True)
    typer.echo(call(connect(ctx, url, token), lambda api: api.delete("trash", user_id=user))["message"])
