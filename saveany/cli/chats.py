"""`saveany chats`: the chats of an account."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, call, connect, printable
from saveany.cli.tables import age, new_table, print_table
from saveany.errors import ConfigError

_KINDS = ("channel", "group", "person", "bot", "saved")


def chats(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT", help="Only chats whose title, name or id contains all of these words."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"Only such chats: {', '.join(_KINDS)}. Can be repeated."),
    ] = None,
    account: Annotated[
        str, typer.Option(help="The user account. Default: the first one that you may use.")
    ] = "",
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the chats of a Telegram account.

    Those with the newest messages come first, at most 1,000. The first column is
    what `saveany export`, `saveany archive add` and `saveany live` take as CHAT;
    chats of people, bots and small groups also need --account. --json prints the
    fields of `GET /api/v1/chats`.
    """
    if unknown := set(kind or ()) - set(_KINDS):
        raise ConfigError(
            "there is no kind {kind}; kinds are {kinds}", kind=min(unknown), kinds=", ".join(_KINDS)
        )
    reply = call(connect(ctx, url, token), lambda api: api.get("chats", account=account))
    wanted = [word.casefold() for word in words or ()]
    found = [each for each in reply["chats"] if _matches(each, wanted) and each["kind"] in (kind or _KINDS)]
    if as_json:
        typer.echo(json.dumps({"chats": found}))
    elif not found:
        typer.echo("no chat matches" if reply["chats"] else "there are no chats", err=True)
    else:
        table = new_table("CHAT", "KIND", "TITLE", "LAST", wide="TITLE", right=("LAST",))
        for each in found:
            last = age(each["last_at"]) if each["last_at"] else ""
            table.add_row(each["chat"], each["kind"], printable(each["title"]), last)
        print_table(table)


def _matches(chat: Json, words: list[str]) -> bool:
    text = f"{chat['title']} {chat['chat']}".casefold()
    return all(word in text for word in words)
