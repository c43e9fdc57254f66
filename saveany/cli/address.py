"""The address of the API, for commands that only call it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import typer

from saveany import advice
from saveany.cli import config_path, load_config
from saveany.config import files
from saveany.config.values import local_address
from saveany.errors import ConfigError

#: Variables that do not change the configuration.
_NO_SETTINGS = frozenset({"SAVEANY_CONFIG", "SAVEANY_URL", "SAVEANY_TOKEN", advice.VARIABLE})


class ApiAddress(NamedTuple):
    """The URL of the API that this configuration describes, and its token."""

    url: str
    token: str


def own_address(ctx: typer.Context, *, checked: bool = False) -> ApiAddress:
    """The API of the configuration that `--config` and the environment name. Raises `ConfigError` if its port
    is not known, or for a wrong configuration, of which only what is needed is read unless `checked`."""
    address = None if checked else _from_api_table(ctx)
    host, port, token = address or _from_configuration(ctx)
    if not port:
        raise ConfigError("api.port is 0, so the port is not known here; set the address with --url")
    host = local_address(host)
    return ApiAddress(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", token)


def own_data_dir(ctx: typer.Context) -> Path:
    """`data_dir` of the configuration that `--config` and the environment name, of which only what is needed
    is read. Raises `ConfigError`."""
    file = _only_file(ctx)
    stated = files.toml(files.read(file), file).get("data_dir") if file else None
    if file and isinstance(stated, str):
        return files.anchored(stated, file.absolute().parent)
    return load_config(ctx, warn=False).data_dir


def _only_file(ctx: typer.Context) -> Path | None:
    """The configuration file, if the environment has no settings that change it."""
    settings = (name for name, text in os.environ.items() if text and name.startswith("SAVEANY_"))
    return files.find(config_path(ctx), os.environ) if _NO_SETTINGS.issuperset(settings) else None


def _from_configuration(ctx: typer.Context) -> tuple[str, int, str]:
    api = load_config(ctx, warn=False).api
    return api.host, api.port, api.token.get_secret_value()


def _from_api_table(ctx: typer.Context) -> tuple[str, int, str] | None:
    """Host, port and token if the table `[api]` of the file states them; None if the whole configuration must
    be loaded, which takes longer than the request."""
    file = _only_file(ctx)
    match files.toml(files.read(file), file).get("api") if file else None:
        case {"port": int(port), "token": str(token), **rest} if type(port) is int and port < 1 << 16:
            host = rest.get("host", "127.0.0.1")
            return (host, port, token) if isinstance(host, str) else None
    return None
