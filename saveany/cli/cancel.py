"""`saveany cancel`: cancel tasks."""

from __future__ import annotations

import typer

from saveany.cli.client import ApiClient, IdsArgument, TokenOption, UrlOption, connect, for_each


def cancel(
    ctx: typer.Context,
    ids: IdsArgument,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Cancel tasks, and remove their unfinished files.

    Exit codes: 0 all tasks canceled; 1 a task was refused (stderr says why).
    """
    for_each(connect(ctx, url, token), ids, ApiClient.cancel, "canceled")
