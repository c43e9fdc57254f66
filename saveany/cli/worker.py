"""`saveany worker`: one worker process."""

from __future__ import annotations

import typer

from saveany import first_run
from saveany.cli import config_path, load_config
from saveany.cli.role import run_role


def worker(ctx: typer.Context) -> None:
    """Run one worker process, which downloads queued tasks.

    You can run any number of them, on any machines that share a Redis.
    """
    if first_run.is_needed(config_path(ctx)):
        first_run.wait()
    import workers.main

    config = load_config(ctx)
    run_role(config, lambda url: workers.main.serve(config, url))
