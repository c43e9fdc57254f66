"""`saveany key`: keys of the API for scripts and other people."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from saveany import advice
from saveany.cli import load_config, usage
from saveany.cli.address import own_address
from saveany.cli.client import Json, JsonOption, TokenOption, UrlOption, call, connect, printable
from saveany.errors import ConfigError
from saveany.models import KEY_SCOPES

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="List, add and revoke keys of the API.",
)


@app.callback()
def key(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List, add and revoke keys of the API. Without a command it lists them."""
    if not ctx.invoked_subcommand:
        list_(ctx, None, as_json, url, token)


@app.command("list")
def list_(
    ctx: typer.Context,
    user: Annotated[int | None, typer.Option(min=1, help="Only keys of this Telegram user id.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List the keys, including revoked ones."""
    found = call(connect(ctx, url, token), lambda api: api.get("keys", user_id=user))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["keys"]:
        _print(found["keys"])
    else:
        command = advice.command("key add NAME --user ID")
        typer.echo(f"There are no keys. To add one: {command}", err=True)


def _print(found: list[Json]) -> None:
    from saveany.cli.tables import age, new_table, print_table  # imports rich

    table = new_table("ID", "NAME", "USER", "SCOPES", "STATE", "USED", wide="NAME")
    for each in found:
        used = f"{age(each['used_at'])} ago" if each["used_at"] else ""
        scopes = " ".join(each["scopes"])
        name, user = printable(each["name"]), str(each["user_id"])
        table.add_row(printable(each["key_id"]), name, user, scopes, each["state"], used)
    print_table(table)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    user: Annotated[int, typer.Option("--user", min=1, help="Telegram id of the user as whom it acts.")],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help=f"What it may be used for: {', '.join(KEY_SCOPES)}. May be repeated."),
    ] = ["tasks", "files", "links"],  # noqa: B006  typer does not change it
    compat: Annotated[
        bool,
        typer.Option("--compat", help="Only for clients of other hosts; prints what they have to be told."),
    ] = False,
    readable: Annotated[
        bool, typer.Option("--readable", help="Keep the secret, for requests that are signed with it.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Add a key, which acts as one user, and print its secret.

    The secret is not shown again. Clients send it as
    `Authorization: Bearer SECRET`, or in SAVEANY_TOKEN.
    """
    for scope in scopes:
        if scope not in KEY_SCOPES:
            known = ", ".join(KEY_SCOPES)
            raise ConfigError("there is no scope {scope!r}; there are: {known}", scope=scope, known=known)
    scopes = ["compat"] if compat else scopes
    body: Json = {"name": name, "user_id": user, "scopes": scopes, "readable": readable}
    made = call(connect(ctx, url, token), lambda api: api.post("keys", body))
    if as_json:
        typer.echo(json.dumps(made))
        return
    if compat:
        _print_login(ctx, made, url)
    else:
        typer.echo(made["secret"])
    if made["readable"] and not compat:
        typer.echo(f"Requests that are signed with it have the keyid {made['key_id']}.", err=True)
    revoke_command = advice.command(f"key revoke {made['key_id']}")
    typer.echo(f"This secret is not shown again. To revoke the key: {revoke_command}", err=True)


def _print_login(ctx: typer.Context, made: Json, url: str) -> None:
    """Print what a client of another host asks for."""
    config = load_config(ctx, warn=False)
    openload, streamapi = config.compat.openload, config.compat.streamapi
    site = (url or config.api.public_url or own_address(ctx).url).rstrip("/")
    typer.echo(f"login:    {made['key_id']}\nkey:      {made['secret']}")
    typer.echo(f"base URL: {site}{openload.path}")
    if streamapi.enable and made["readable"]:
        typer.echo(f"StreamAPI URL: {site}{streamapi.path}")
    elif not openload.enable:
        command = advice.command("config set compat.openload.enable true")
        typer.echo(f"The API for these clients is off. To turn it on: {command}", err=True)


@app.command()
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `list` shows it.")],
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Revoke a key. It stops working at once."""
    call(connect(ctx, url, token), lambda api: api.delete(f"keys/{quote(key_id, safe='')}"))
    typer.echo(f"{key_id} revoked")
