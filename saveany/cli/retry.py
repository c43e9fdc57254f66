"""`saveany retry`: try tasks again."""

from __future__ import annotations

import typer

from saveany.cli.client import ApiClient, IdsArgument, TokenOption, UrlOption, connect, for_each


def retry(
    ctx: typer.Context,
    ids: IdsArgument,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Try failed or canceled tasks again; files they have saved are kept.

    Exit codes: 0 all are queued; 1 one was refused, which is said on stderr.
    """
    for_each(connect(ctx, url, token), ids, ApiClient.retry, "queued again")
