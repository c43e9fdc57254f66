"""`saveany watch`: all tasks, live."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import typer

from saveany.cli.bars import display
from saveany.cli.client import ApiClient, JsonOption, TokenOption, UrlOption, connect
from saveany.cli.follow import follow_all
from saveany.cli.waiting import first_page, with_reasons

_IDLE = "No task is queued or running. New tasks appear here; Ctrl-C ends the command."


def watch(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Watch all tasks until Ctrl-C.

    Shows progress bars on a terminal. Otherwise, and with --json, it prints one
    JSON object per line for each event, as `saveany add --follow` does;
    {"event": "reset"} means that events were lost, and a snapshot of each queued
    or running task follows.
    """
    asyncio.run(_watch(connect(ctx, url, token), as_json=as_json))


async def _watch(api: ApiClient, *, as_json: bool) -> None:
    async with api:
        await api.live()  # fails at once if the API cannot be used; later failures are retried
        with display(as_json=as_json, idle=_IDLE) as screen:
            async with aclosing(with_reasons(follow_all(api), first_page(api))) as events:
                async for event in events:
                    screen.show(event)
