"""`saveany folders`: the folders of saved files."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany.cli import usage
from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, UserOption, call, connect, printable
from saveany.cli.files import given

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="List and change folders of saved files.",
)

FolderArgument = Annotated[int, typer.Argument(metavar="ID", min=1, help="Id of the folder.")]


@app.callback()
def folders(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List and change folders of saved files. Without a command it lists those at the top."""
    if not ctx.invoked_subcommand:
        list_(ctx, as_json=as_json, url=url, token=token)


@app.command("list")
def list_(
    ctx: typer.Context,
    parent: Annotated[int, typer.Argument(min=0, help="Id of the folder to list; 0 is the top.")] = 0,
    user: UserOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of folders.")] = 200,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the folders in a folder.

    --json prints {"folders": […]}, with the fields of `GET /api/v1/folders`.
    """
    found: list[Json] = call(
        connect(ctx, url, token),
        lambda api: api.pages("folders", "folders", limit, parent=parent, user_id=user),
    )
    if as_json:
        typer.echo(json.dumps({"folders": found}))
    elif found:
        from saveany.cli.tables import new_table, print_table  # imports rich

        table = new_table("ID", "FOLDER", "USER", wide="FOLDER", right=("ID",))
        for folder in found:
            table.add_row(str(folder["folder_id"]), printable(folder["path"]), str(folder["user_id"]))
        print_table(table)
    else:
        typer.echo("There are no folders here.", err=True)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new folder.")],
    parent: Annotated[int, typer.Option("--in", min=0, help="Id of the folder that contains it.")] = 0,
    user: UserOption = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Create a folder."""
    body: Json = {"name": name, "parent_id": parent}
    if user is not None:
        body["user_id"] = user
    _print(call(connect(ctx, url, token), lambda api: api.post("folders", body)), as_json=as_json)


@app.command()
def change(
    ctx: typer.Context,
    folder_id: FolderArgument,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    parent: Annotated[
        int | None, typer.Option("--in", min=0, help="Id of the folder to move it into; 0 is the top.")
    ] = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Rename a folder, or move it into another one, with everything in it."""
    changes = given({"name": name, "parent_id": parent}, "--name or --in")
    changed = call(connect(ctx, url, token), lambda api: api.patch(f"folders/{folder_id}", changes))
    _print(changed, as_json=as_json)


@app.command()
def delete(
    ctx: typer.Context,
    folder_id: FolderArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also if it is not empty: its files go to the trash.")
    ] = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Delete a folder, and the links to it."""
    params = {"recursive": "true"} if recursive else {}
    reply = call(connect(ctx, url, token), lambda api: api.delete(f"folders/{folder_id}", **params))
    typer.echo(reply["message"])


def _print(folder: Json, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(folder))
    else:
        typer.echo(printable(f"{folder['folder_id']} {folder['path']}"))
