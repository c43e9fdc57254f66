"""`saveany config`: show and change the configuration."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any

import tomli_w
import typer
from pydantic import SecretStr

from saveany import advice
from saveany.cli import config_path, fail, file_to_change, load_config, usage
from saveany.config import Config, files, keys, write

app = typer.Typer(
    cls=usage.CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Show and change the configuration.",
)


@app.command()
def show(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the settings in effect. Environment variables override the file. Secrets are masked."""
    config = load_config(ctx)
    values = keys.plain(config)
    typer.echo(json.dumps(values, indent=2) if as_json else tomli_w.dumps(values), nl=as_json)


@app.command()
def get(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as api.port, storages or storages.0.name.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Print secrets, too.")] = False,
) -> None:
    """Print one setting in effect. Lists and tables are printed as JSON."""
    value = _at(load_config(ctx, warn=False), key)
    if isinstance(value, SecretStr) and not reveal:
        fail(f"{key} is a secret; add --reveal to print it")
    if key == "api.webhook_secret" and not value.get_secret_value():
        value = SecretStr(_shared_webhook_secret(load_config(ctx, warn=False)))
    text = keys.plain(value, reveal=reveal)
    typer.echo(text if isinstance(text, str) else json.dumps(text))


def _shared_webhook_secret(config: Config) -> str:
    """The secret that SaveAny has generated for all machines, from Redis."""
    from saveany.cli.role import redis_server, run_async
    from saveany.store import open_store
    from saveany.webhooks.signing import is_secret, new_secret

    async def read(url: str) -> str:
        store = await open_store(url)
        try:
            return await store.secret("webhook_secret", new_secret(), is_secret)
        finally:
            await store.db.close()

    with redis_server(config) as (url, _):
        return run_async(read(url))


def _at(config: object, key: str) -> Any:
    """The value of a dotted key. List elements are numbered from 0."""
    value: Any = config
    for part in key.split("."):
        if isinstance(value, tuple) and re.fullmatch(r"\d{1,4}", part) and int(part) < len(value):
            value = value[int(part)]
        elif part in getattr(type(value), "model_fields", ()):
            value = getattr(value, part)
        else:
            raise keys.unknown(key)
    return value


@app.command("set")
def set_(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as api.port or storages.0.base_path.")],
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE", help="New value. Lists: separated by commas, or JSON. users and storages: JSON."
        ),
    ],
) -> None:
    """Change one key in the file if the result is valid. Keeps the comments in the file."""
    file = file_to_change(ctx)
    found = keys.find(key, files.toml(files.read(file), file))
    write.set_key(file, key, found.parse(value))
    for variable in (found.variable, f"{found.variable}_FILE"):
        if os.environ.get(variable):
            typer.echo(f"warning: {variable} is set and overrides the file", err=True)


@app.command()
def path(ctx: typer.Context) -> None:
    """Print the path of the configuration file in use."""
    file = files.find(config_path(ctx), os.environ)
    if file is None:
        fail(f"there is no configuration file; `{advice.command('init')}` writes one")
    typer.echo(file.absolute())
