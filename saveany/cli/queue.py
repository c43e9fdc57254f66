"""`saveany queue`: the queue as a whole."""

from __future__ import annotations

import json

import typer

from saveany import advice
from saveany.cli import usage
from saveany.cli.client import JsonOption, TokenOption, UrlOption, call, connect

app = typer.Typer(
    cls=usage.CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    help="Show, pause and resume the queue.",
)


@app.callback()
def queue(
    ctx: typer.Context, as_json: JsonOption = False, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Show, pause and resume the queue. Without a command it prints the number of tasks in it."""
    if ctx.invoked_subcommand:
        return
    state = call(connect(ctx, url, token), lambda api: api.get("queue"))
    if as_json:
        typer.echo(json.dumps(state))
        return
    counts = (f"{state[f'{name}_tasks']} {name}" for name in ("running", "queued", "paused"))
    typer.echo(f"{', '.join(counts)}.")
    if state["paused"]:
        typer.echo(f"The queue is paused: no task starts until you run `{advice.command('queue resume')}`.")


@app.command()
def pause(ctx: typer.Context, url: UrlOption = "", token: TokenOption = "") -> None:
    """Start no more tasks until the queue is resumed. Running tasks continue."""
    typer.echo(call(connect(ctx, url, token), lambda api: api.post("queue/pause"))["message"])


@app.command()
def resume(ctx: typer.Context, url: UrlOption = "", token: TokenOption = "") -> None:
    """Start queued tasks again, except those that are paused individually."""
    typer.echo(call(connect(ctx, url, token), lambda api: api.post("queue/resume"))["message"])
