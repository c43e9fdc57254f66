"""`saveany files` and `saveany folders`: what was saved."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, UserOption, call, connect, printable


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


def files(
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
        _print_files(found)
    else:
        typer.echo("No file matches." if text or type_ or storage else "No file was saved yet.", err=True)


def folders(
    ctx: typer.Context,
    parent: Annotated[int, typer.Argument(min=0, help="Id of the folder to list; 0 is the top.")] = 0,
    user: UserOption = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the folders in a folder.

    --json prints {"folders": […]}, with the fields of `GET /api/v1/folders`.
    """
    found: list[Json] = call(
        connect(ctx, url, token), lambda api: api.get("folders", parent=parent, user_id=user)
    )["folders"]
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


def _print_files(found: list[Json]) -> None:
    from saveany.cli.tables import age, new_table, print_table, short_size  # imports rich

    table = new_table("ID", "NAME", "SIZE", "FOLDER", "STORAGE", "AGE", wide="NAME", right=("SIZE", "AGE"))
    for file in found:
        table.add_row(
            file["file_id"],
            printable(file["name"]),
            short_size(file["size"]),
            printable(file["folder"]),
            printable(file["storage"]),
            age(file["added_at"]),
        )
    print_table(table)
