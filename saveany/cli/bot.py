"""`saveany bot`: the Telegram bot."""

from __future__ import annotations

import typer

from saveany.cli import load_config
from saveany.cli.role import run_role


def bot(ctx: typer.Context) -> None:
    """Run the Telegram bot: people send it files and links, and it saves them.

    It needs telegram.token. Several may run, on any machine with the same Redis: one is the bot, the others
    take over when it goes.
    """
    import saveany.bot.app

    config = load_config(ctx)
    run_role(config, lambda url: saveany.bot.app.serve(config, url))
