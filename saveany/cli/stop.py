"""`saveany stop`: end tasks with what is saved."""

from __future__ import annotations

import typer

from saveany.cli.client import IdsArgument, TokenOption, UrlOption, connect, for_each


def stop(ctx: typer.Context, ids: IdsArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Stop tasks, and keep the files that are saved. The tasks end as completed.

    Exit codes: 0 all tasks stopped; 1 a task was refused (stderr says why).
    """
    for_each(connect(ctx, url, token), ids, lambda api, id_: api.act(id_, "stop"), "stopped")
