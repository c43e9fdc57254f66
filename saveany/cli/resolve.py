"""`saveany resolve`: what a link would produce."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany.cli.add import FolderOption, ForUserOption, NameOption, StorageOption, TypeOption, first_user
from saveany.cli.archive import show_estimate
from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, call, connect, printable


def resolve(
    ctx: typer.Context,
    link: Annotated[str, typer.Argument(metavar="LINK", help="A link as for `add`.")],
    user: ForUserOption = None,
    storage: StorageOption = "",
    folder: FolderOption = "",
    name: NameOption = "",
    type_: TypeOption = "",
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Show what a link would save, without saving it.

    --json prints the reply of `POST /api/v1/resolve`.
    """
    request = {
        "url": link,
        "user_id": user or first_user(ctx),
        "storage_name": storage,
        "dir_path": folder,
        "filename": name,
        "type": type_,
    }
    body = {key: value for key, value in request.items() if value}
    found = call(connect(ctx, url, token), lambda api: api.post("resolve", body))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["archive"]:
        typer.echo(f"a chat: {printable(found['archive']['title'])}")
        show_estimate(found["archive"])
    else:
        _print(found)


def _print(found: Json) -> None:
    from saveany.cli.tables import new_table, print_table, short_size  # imports rich

    table = new_table("FILE", "SIZE", "TYPE", "NOTE", wide="FILE", right=("SIZE",))
    for file in found["files"]:
        size = "?" if file["size"] is None else short_size(file["size"])
        note = file.get("error", "")
        if file["duplicate"]:
            note = f"saved before: {file['duplicate']['file_id']}"
        place = printable(f"{file['storage']}:/{file['path']}")
        table.add_row(place, size, file["type"], printable(note))
    print_table(table)
    if found["total_files"] > len(found["files"]):
        typer.echo(f"… and {found['total_files'] - len(found['files'])} more files")
