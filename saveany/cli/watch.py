"""`saveany watch`: all tasks, live."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import typer

from saveany.cli.bars import display
from saveany.cli.client import ApiClient, JsonOption, TokenOption, UrlOption, connect
from saveany.cli.follow import follow_all
from saveany.cli.reasons import all_of, with_reasons

_IDLE = "No task is queued or running. New ones appear here; Ctrl-C ends this."


def watch(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Watch all tasks until Ctrl-C.

    Shows bars on a terminal. Elsewhere, and with --json, it prints one JSON
    object per line and event, as `saveany add --follow` does; {"event": "reset"}
    means that events were missed, and a snapshot of each live task follows.
    """
    asyncio.run(_watch(connect(ctx, url, token), as_json=as_json))


async def _watch(api: ApiClient, *, as_json: bool) -> None:
    async with api:
        await api.live()  # says at once what is wrong, before anything is tried again
        with display(as_json=as_json, idle=_IDLE) as screen:
            async with aclosing(with_reasons(follow_all(api), all_of(api))) as events:
                async for event in events:
                    screen.show(event)
