"""`saveany pause`: pause tasks."""

from __future__ import annotations

import typer

from saveany.cli.client import IdsArgument, TokenOption, UrlOption, connect, for_each


def pause(ctx: typer.Context, ids: IdsArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Pause tasks. A running task stops within a second and keeps the data it has downloaded.

    Exit codes: 0 all tasks paused; 1 a task was refused (stderr says why).
    """
    for_each(connect(ctx, url, token), ids, lambda api, id_: api.act(id_, "pause"), "paused")
