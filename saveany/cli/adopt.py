"""`saveany archive adopt`: an archive of a chat whose files were saved by another program before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from saveany.cli.client import ApiClient, Json, JsonOption, TokenOption, UrlOption, call, connect, printable


def adopt(
    ctx: typer.Context,
    chat: Annotated[str, typer.Argument(metavar="CHAT", help="@name, a link into the chat, or its id.")],
    path: Annotated[str, typer.Argument(help="Folder in the storage with the files.")],
    export: Annotated[
        Path | None,
        typer.Option(
            "--from",
            exists=True,
            dir_okay=False,
            help="result.json of Telegram Desktop, or the JSON of `tdl chat export`, on this machine.",
        ),
    ] = None,
    storage: Annotated[str, typer.Option(help="Storage. Default: that of the user.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Save new messages, too, from then on.")] = False,
    account: Annotated[
        str, typer.Option(help="User account that reads the chat; needed for private chats and `me`.")
    ] = "",
    user: Annotated[int | None, typer.Option(min=1, help="Telegram user id of the owner.")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Only print what would be adopted.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Archive a chat whose files another program has saved: fetch only the rest.

    A file belongs to a message if the export says so, or its name (as tdl and
    telegram_media_downloader name files), and its size is right. Other files are
    compared by size and content. Nothing is moved or changed; what is missing is
    saved in the same folder. `saveany archive show` prints the receipt.
    --json prints the fields of `POST /api/v1/archives/adopt`.
    """

    async def run(api: ApiClient) -> Json:
        return await api.post(
            "archives/adopt",
            file=export,
            patient=True,
            chat=chat,
            dir_path=path,
            storage=storage,
            follow="true" if follow else "",
            account=account,
            user_id=user,
            trial="true" if trial else "",
        )

    done = call(connect(ctx, url, token), run)
    if done["truncated"]:
        typer.echo(f"{export} is incomplete; the messages before its end are used", err=True)
    typer.echo(f"{done['files']:,} files found, {done['known']:,} belong to known messages", err=True)
    if as_json:
        typer.echo(json.dumps(done))
    elif trial:
        for each in done["examples"]:
            message = f"message {each['message']}" if each["message"] else "unknown message"
            typer.echo(f"{printable(each['path'])}: {message}")
        if done["files"] > len(done["examples"]):
            typer.echo("…")
    else:
        typer.echo(f"{done['archive']['id']} {printable(done['archive']['title'])}")
