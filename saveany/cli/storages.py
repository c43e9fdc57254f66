"""`saveany storages`: list, test and change storages."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from saveany import advice
from saveany.cli import file_to_change, usage
from saveany.cli.client import ApiClient, Json, JsonOption, TokenOption, UrlOption, call, connect, printable
from saveany.cli.tables import new_table, print_table, short_size
from saveany.config import keys, write
from saveany.config.hints import did_you_mean
from saveany.errors import ConfigError
from storages import registry

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="List, test, browse, add and remove storages.",
)

_PAGE = 1000

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the storage.")]


@app.callback()
def storages(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List, test, browse, add and remove storages. Without a command it lists the configured storages."""
    if not ctx.invoked_subcommand:
        list_(ctx, as_json, url, token)


@app.command("list")
def list_(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List the configured storages, and whether each can save files now."""
    found = call(connect(ctx, url, token), lambda api: api.get("storages"))
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["storages"]:
        typer.echo(
            f"There are no storages. To add one: {advice.command('storages add NAME TYPE KEY=VALUE …')}",
            err=True,
        )
    else:
        _print(found["storages"])


def _print(found: list[Json]) -> None:
    table = new_table("NAME", "TYPE", "STATE", wide="STATE")
    for each in found:
        state = Text("ready", style="green") if each["ready"] else Text(printable(each["error"]), style="red")
        table.add_row(each["name"], each["type"], state)
    print_table(table)


@app.command("test")
def check(ctx: typer.Context, name: NameArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Test a storage: a worker writes a small file, reads it back and deletes it."""
    reply = call(connect(ctx, url, token), lambda api: api.post(f"storages/{_quoted(name)}/test"))
    typer.echo(f"{name} works: a small file was written, read back and deleted in {reply['seconds']:.2f} s")


@app.command()
def browse(
    ctx: typer.Context,
    name: NameArgument,
    path: Annotated[str, typer.Argument(help="Folder inside the storage. Default: its root.")] = "",
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List a folder of a storage, sorted by name.

    --json prints a list with name, path, size, is_dir and modified_at of each
    entry.
    """
    entries = call(connect(ctx, url, token), lambda api: _entries(api, name, path))
    if as_json:
        typer.echo(json.dumps(entries))
        return
    if not entries:
        typer.echo("This folder is empty.", err=True)
        return
    table = new_table("NAME", "SIZE", "MODIFIED", wide="NAME", right=("SIZE",))
    for each in entries:
        size = "" if each["is_dir"] else short_size(each["size"])
        table.add_row(printable(each["name"]) + "/" * each["is_dir"], size, (each["modified_at"] or "")[:16])
    print_table(table)


async def _entries(api: ApiClient, name: str, path: str) -> list[Json]:
    found: list[Json] = []
    after: str | None = ""
    while after is not None:
        page = await api.get(f"storages/{_quoted(name)}/files", path=path, after=after, limit=_PAGE)
        found += page["entries"]
        after = page["next"]
    return found


@app.command()
def add(
    ctx: typer.Context,
    name: NameArgument,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE", help="Type of storage: local, s3, webdav, … (see docs/reference/storages.md)."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings of this type; KEY=- asks for the value."),
    ] = None,
) -> None:
    """Add a storage to the configuration file if the result is valid.

    Do not type a password into the command: with password=- the command asks for
    it on the terminal, without showing it, or reads it from stdin.
    """
    model = registry.options_model(kind)
    if model is None:
        known = registry.types()
        hint = did_you_mean(kind, known) or f"known types: {', '.join(known)}"
        raise ConfigError("there is no storage type {type!r}; {hint}", type=kind, hint=hint)
    values: dict[str, Any] = {"name": name, "type": kind}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(
                "{setting!r} must look like KEY=VALUE, such as base_path=/srv/files", setting=setting
            )
        field = model.model_fields.get(key)
        text = _prompt(key) if text == "-" else text
        values[key] = keys.ConfigKey((key,), field).parse(text) if field else text
    file = file_to_change(ctx)
    write.add_storage(file, values)
    typer.echo(
        f"Added {name} to {file}. A running SaveAny uses it within seconds. Test it: "
        f"{advice.command(f'storages test {name}')}"
    )


def _prompt(key: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(key, hide_input=True))
    return sys.stdin.readline().rstrip("\n")


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Remove a storage from the configuration file. Its files are not deleted."""
    file = file_to_change(ctx)
    config = write.remove_storage(file, name)
    for warning in config.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"Removed {name} from {file}; its files were not deleted.")


def _quoted(name: str) -> str:
    return quote(name, safe="")
