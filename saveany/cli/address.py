"""The address of the API, for commands that only call it."""

from __future__ import annotations

import os
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


def _from_configuration(ctx: typer.Context) -> tuple[str, int, str]:
    api = load_config(ctx, warn=False).api
    return api.host, api.port, api.token.get_secret_value()


def _from_api_table(ctx: typer.Context) -> tuple[str, int, str] | None:
    """Host, port and token if the table `[api]` of the file states them; None if the whole configuration must
    be loaded, which takes longer than the request."""
    settings = (name for name, text in os.environ.items() if text and name.startswith("SAVEANY_"))
    if not _NO_SETTINGS.issuperset(settings):
        return None
    file = files.find(config_path(ctx), os.environ)
    match files.toml(files.read(file), file).get("api") if file else None:
        case {"port": int(port), "token": str(token), **rest} if type(port) is int and port < 1 << 16:
            host = rest.get("host", "127.0.0.1")
            return (host, port, token) if isinstance(host, str) else None
    return None
