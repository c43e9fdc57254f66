"""`saveany api`: the HTTP API."""

from __future__ import annotations

import typer

from saveany import first_run
from saveany.cli import config_path, load_config
from saveany.cli.role import run_role
from saveany.restart import begin_again


def api(ctx: typer.Context) -> None:
    """Run the HTTP API, which accepts tasks and reports their state."""
    import saveany.api.server

    if first_run.is_needed(config_path(ctx)):
        first_run.serve()
        begin_again()
    config = load_config(ctx)
    run_role(config, lambda url: saveany.api.server.serve(config, url))
