"""`saveany api`: the HTTP API."""

from __future__ import annotations

import typer

from saveany.cli import load_config
from saveany.cli.role import run_role


def api(ctx: typer.Context) -> None:
    """Run the HTTP API, which accepts tasks and reports their state."""
    import saveany.api.server

    config = load_config(ctx)
    run_role(config, lambda url: saveany.api.server.serve(config, url))
