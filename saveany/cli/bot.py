"""`saveany bot`: the Telegram bot."""

from __future__ import annotations

import typer

from saveany import first_run
from saveany.cli import config_path, load_config
from saveany.cli.role import run_role


def bot(ctx: typer.Context) -> None:
    """Run the Telegram bot, which saves the files and links that users send it.

    It needs telegram.token. You can run several, on any machines that share a
    Redis: one is active, and another takes over when it stops.
    """
    if first_run.is_needed(config_path(ctx)):
        first_run.wait()
    import saveany.bot.app

    config = load_config(ctx)
    run_role(config, lambda url: saveany.bot.app.serve(config, url))
