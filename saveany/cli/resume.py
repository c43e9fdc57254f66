"""`saveany resume`: resume paused tasks."""

from __future__ import annotations

import typer

from saveany.cli.client import IdsArgument, TokenOption, UrlOption, connect, for_each


def resume(ctx: typer.Context, ids: IdsArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Resume paused tasks. Each continues from the data it has downloaded.

    Exit codes: 0 all tasks queued; 1 a task was refused (stderr says why).
    """
    for_each(connect(ctx, url, token), ids, lambda api, id_: api.act(id_, "resume"), "resumed")
