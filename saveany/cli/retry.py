"""`saveany retry`: retry tasks."""

from __future__ import annotations

import typer

from saveany.cli.client import IdsArgument, TokenOption, UrlOption, connect, for_each


def retry(
    ctx: typer.Context,
    ids: IdsArgument,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Retry failed or canceled tasks. Files that they have saved are not downloaded again.

    Exit codes: 0 all tasks queued; 1 a task was refused (stderr says why).
    """
    for_each(connect(ctx, url, token), ids, lambda api, id_: api.act(id_, "retry"), "queued again")
