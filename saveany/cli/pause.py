"""`saveany pause`: have tasks wait."""

from __future__ import annotations

import typer

from saveany.cli.client import ApiClient, IdsArgument, TokenOption, UrlOption, connect, for_each


def pause(ctx: typer.Context, ids: IdsArgument, url: UrlOption = "", token: TokenOption = "") -> None:
    """Pause tasks. A running one stops within a second and keeps what it has.

    Exit codes: 0 all are paused; 1 one was refused, which is said on stderr.
    """
    for_each(connect(ctx, url, token), ids, ApiClient.pause, "paused")
