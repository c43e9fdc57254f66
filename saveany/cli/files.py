"""`saveany files`: what was saved."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from saveany.cli import FAILED, usage
from saveany.cli.client import (
    ApiClient,
    Json,
    JsonOption,
    RequestRefused,
    TokenOption,
    UrlOption,
    UserOption,
    call,
    connect,
    printable,
)
from saveany.errors import ConfigError

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="List and change saved files.",
)

FileArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the file.")]


class Kind(StrEnum):
    """The kinds of files."""

    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"
    TEXT = "text"
    OTHER = "other"


class Order(StrEnum):
    """The orders of files."""

    ADDED = "added"
    NEWEST = "-added"
    NAME = "name"
    NAME_DESCENDING = "-name"
    SIZE = "size"
    LARGEST = "-size"


@app.callback()
def files(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List and change saved files. Without a command it lists the newest ones."""
    if not ctx.invoked_subcommand:
        list_(ctx, as_json=as_json, url=url, token=token)


@app.command("list")
def list_(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Only files with this text in their name or caption.")] = "",
    folder: Annotated[
        int | None, typer.Option(min=0, help="Only files directly in the folder with this id.")
    ] = None,
    type_: Annotated[Kind | None, typer.Option("--type", help="Only files of this kind.")] = None,
    storage: Annotated[str, typer.Option(help="Only files in this storage.")] = "",
    user: UserOption = None,
    sort: Annotated[Order, typer.Option(help="Order; - is descending.")] = Order.NEWEST,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of files.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List saved files, newest first.

    --json prints {"files": […]}, with the fields of `GET /api/v1/files`.
    """
    filters = {
        "q": text,
        "folder": folder,
        "type": type_ and type_.value,
        "storage": storage,
        "user_id": user,
        "sort": sort.value,
    }
    found = call(connect(ctx, url, token), lambda api: api.pages("files", "files", limit, **filters))
    if as_json:
        typer.echo(json.dumps({"files": found}))
    elif found:
        print_files(found)
    else:
        typer.echo("No file matches." if text or type_ or storage else "No file was saved yet.", err=True)


@app.command()
def change(
    ctx: typer.Context,
    file_id: FileArgument,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    folder: Annotated[
        int | None, typer.Option(min=0, help="Id of the folder to move it to; 0 is the top.")
    ] = None,
    caption: Annotated[str | None, typer.Option(help="New caption.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Rename a file, move it to another folder, or change its caption.

    Its copy in the storage keeps its path.
    """
    changes = given({"name": name, "folder_id": folder, "caption": caption}, "--name, --folder or --caption")
    file = call(connect(ctx, url, token), lambda api: api.patch(f"files/{quoted(file_id)}", changes))
    if as_json:
        typer.echo(json.dumps(file))
    else:
        typer.echo(printable(f"{file['file_id']} {file['folder'].rstrip('/')}/{file['name']}"))


@app.command()
def delete(
    ctx: typer.Context,
    file_ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of files.")],
    now: Annotated[
        bool, typer.Option("--now", help="Do not keep them in the trash: their copies are removed.")
    ] = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Move files to the trash, from which `saveany trash restore` takes them.

    Their links stop working at once.
    """

    async def main(api: ApiClient) -> bool:
        refused = False
        for file_id in dict.fromkeys(file_ids):
            try:
                reply = await api.delete(f"files/{quoted(file_id)}", now="true" if now else None)
                typer.echo(f"{file_id} {reply['message']}")
            except RequestRefused as error:
                typer.echo(f"error: {file_id}: {error.message}", err=True)
                refused = True
        return refused

    if call(connect(ctx, url, token), main):
        raise typer.Exit(FAILED)


def given(changes: Json, options: str) -> Json:
    """The changes that were given. Raises `ConfigError` if there are none."""
    found = {name: value for name, value in changes.items() if value is not None}
    if not found:
        raise ConfigError("nothing to change; use {options}", options=options)
    return found


def quoted(text: str) -> str:
    """A text as a part of a path."""
    return quote(text, safe="")


def print_files(found: list[Json], since: str = "added_at") -> None:
    """Print a table of files; their age is the time since `since`."""
    from saveany.cli.tables import age, new_table, print_table, short_size  # imports rich

    table = new_table("ID", "NAME", "SIZE", "FOLDER", "STORAGE", "AGE", wide="NAME", right=("SIZE", "AGE"))
    for file in found:
        table.add_row(
            file["file_id"],
            printable(file["name"]),
            short_size(file["size"]),
            printable(file["folder"]),
            printable(file["storage"]),
            age(file[since]),
        )
    print_table(table)
