"""`saveany retry`: try tasks again."""

from __future__ import annotations

from typing import Annotated

import typer

from saveany.cli.client import Api, TokenOption, UrlOption, connect, for_each


def retry(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of the tasks.")],
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Try failed or canceled tasks again; files they have saved are kept.

    Exit codes: 0 all are queued; 1 one was refused, which is said on stderr.
    """
    for_each(connect(ctx, url, token), ids, Api.retry, "queued again")
