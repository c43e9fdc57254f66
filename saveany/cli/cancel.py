"""`saveany cancel`: end tasks."""

from __future__ import annotations

import typer

from saveany.cli.client import ApiClient, IdsArgument, TokenOption, UrlOption, connect, for_each


def cancel(
    ctx: typer.Context,
    ids: IdsArgument,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Cancel tasks, and remove what they had written of unfinished files.

    Exit codes: 0 all canceled; 1 one was refused, which is said on stderr.
    """
    for_each(connect(ctx, url, token), ids, ApiClient.cancel, "canceled")
