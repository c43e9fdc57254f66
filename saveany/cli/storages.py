"""`saveany storages`: where files go."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from saveany import advice
from saveany.cli import file_to_change
from saveany.cli.client import ApiClient, Json, JsonOption, TokenOption, UrlOption, ask, connect, printable
from saveany.cli.tables import new_table, print_table, short_size
from saveany.config import keys, write
from saveany.errors import ConfigError
from storages import registry

app = typer.Typer(
    invoke_without_command=True, add_completion=False, help="List, try, browse, add and remove storages."
)

_PAGE = 1000

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the storage.")]


@app.callback()
def storages(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List, try, browse, add and remove storages. Alone it lists those that are configured."""
    if not ctx.invoked_subcommand:
        list_(ctx, as_json, url, token)


@app.command("list")
def list_(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """List the configured storages, and whether files can be saved there now."""
    found = ask(connect(ctx, url, token), lambda api: api.get("storages"))
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["storages"]:
        typer.echo(
            f"There are no storages. Add one: {advice.command('storages add NAME TYPE KEY=VALUE …')}",
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
def try_(ctx: typer.Context, name: NameArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Have a worker write a small file there, read it back and delete it."""
    reply = ask(connect(ctx, url, token), lambda api: api.post(f"storages/{_quoted(name)}/test"))
    typer.echo(f"{name} works: a file was written, read back and deleted in {reply['seconds']:.2f} s")


@app.command()
def browse(
    ctx: typer.Context,
    name: NameArgument,
    path: Annotated[str, typer.Argument(help="Folder inside the storage. Default: its root.")] = "",
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List a folder of a storage, by name.

    --json prints the list of entries: name, path, size, is_dir, modified_at.
    """
    entries = ask(connect(ctx, url, token), lambda api: _entries(api, name, path))
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
        str, typer.Argument(metavar="TYPE", help="local, s3, webdav, … (docs/reference/storages.md).")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="What the type needs; KEY=- asks for the value."),
    ] = None,
) -> None:
    """Add a storage to the configuration file, if the result is valid.

    A password is better asked for than typed into the command: password=-
    reads it from the terminal without showing it, or from stdin.
    """
    model = registry.options_model(kind)
    if model is None:
        raise ConfigError(f"there is no storage type {kind!r}; there are: {', '.join(registry.types())}")
    values: dict[str, Any] = {"name": name, "type": kind}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{setting!r} must look like KEY=VALUE, as in base_path=/srv/files")
        field = model.model_fields.get(key)
        text = _asked(key) if text == "-" else text
        values[key] = keys.ConfigKey((key,), field).parse(text) if field else text
    file = file_to_change(ctx)
    write.add_storage(file, values)
    typer.echo(f"Added {name} to {file}. Try it with `{advice.command('check')}`, then restart SaveAny.")


def _asked(key: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(key, hide_input=True))
    return sys.stdin.readline().rstrip("\n")


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Remove a storage from the configuration file. Its files stay where they are."""
    file = file_to_change(ctx)
    config = write.remove_storage(file, name)
    for warning in config.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"Removed {name} from {file}; its files stay. Restart SaveAny.")


def _quoted(name: str) -> str:
    return quote(name, safe="")
