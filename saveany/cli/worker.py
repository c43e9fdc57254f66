"""`saveany worker`: one worker process."""

from __future__ import annotations

import typer

from saveany.cli import load_config
from saveany.cli.role import run_role


def worker(ctx: typer.Context) -> None:
    """Run one worker process, which downloads queued tasks.

    You can run any number of them, on any machines that share a Redis.
    """
    import workers.main

    config = load_config(ctx)
    run_role(config, lambda url: workers.main.serve(config, url))
