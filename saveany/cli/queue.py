"""`saveany queue`: the queue as a whole."""

from __future__ import annotations

import json

import typer

from saveany import advice
from saveany.cli.client import JsonOption, TokenOption, UrlOption, ask, connect

app = typer.Typer(invoke_without_command=True, add_completion=False, help="Show, pause and resume the queue.")


@app.callback()
def queue(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Show, pause and resume the queue. Alone it prints how many tasks are in it."""
    if ctx.invoked_subcommand:
        return
    state = ask(connect(ctx, url, token), lambda api: api.get("queue"))
    if as_json:
        typer.echo(json.dumps(state))
        return
    counts = (f"{state[f'{name}_tasks']} {name}" for name in ("running", "queued", "paused"))
    typer.echo(f"{', '.join(counts)}.")
    if state["paused"]:
        typer.echo(f"The queue is paused: no task begins until `{advice.command('queue resume')}`.")


@app.command()
def pause(ctx: typer.Context, url: UrlOption = "", token: TokenOption = "") -> None:
    """Begin no more tasks until the queue is resumed. Running ones go on."""
    typer.echo(ask(connect(ctx, url, token), lambda api: api.post("queue/pause"))["message"])


@app.command()
def resume(ctx: typer.Context, url: UrlOption = "", token: TokenOption = "") -> None:
    """Begin tasks again, but for those that are paused themselves."""
    typer.echo(ask(connect(ctx, url, token), lambda api: api.post("queue/resume"))["message"])
