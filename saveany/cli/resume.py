"""`saveany resume`: let paused tasks go on."""

from __future__ import annotations

import typer

from saveany.cli.client import ApiClient, IdsArgument, TokenOption, UrlOption, connect, for_each


def resume(ctx: typer.Context, ids: IdsArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Resume paused tasks; each goes on from what it has.

    Exit codes: 0 all are queued; 1 one was refused, which is said on stderr.
    """
    for_each(connect(ctx, url, token), ids, ApiClient.resume, "resumed")
