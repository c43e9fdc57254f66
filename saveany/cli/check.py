"""`saveany check`: check the configuration and everything it names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from saveany import checks
from saveany.checks import Check
from saveany.cli import load_config
from saveany.cli.role import prepare, redis_server, run_async
from saveany.config import Config
from saveany.config.schema import LogConfig
from saveany.errors import ConfigError, SaveAnyError
from saveany.store import connect


def check(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the configuration and everything it names, by using it.

    Checks the configuration and the port, the programs that task types need, free
    disk space, Redis (starting the embedded server), the catalogue, each storage (by writing,
    reading and deleting a small file), each Telegram account, and the clock.
    Prints a line per check: ok, warning or failed, its name, and what to do.

    --json prints one object: {"ok": true, "checks": [{"name": "…", "status":
    "ok", "detail": "…"}]}; `ok` is false if a check failed.

    Exit codes: 0 no check failed; else the lowest code of the failed checks:
    2 configuration; 3 Redis; 4 storage; 5 Telegram; 6 disk or clock;
    7 catalogue.
    """
    try:
        config = load_config(ctx, warn=False)
    except ConfigError as error:
        found = checks.invalid(error)
        _print_lines(found, as_json)
    else:
        # the lines contain all that would be logged
        prepare(config.model_copy(update={"log": LogConfig(level="critical")}))
        found = run_async(_run(config, as_json))
    failed = [each.area for each in found if each.status == "failed"]
    if as_json:
        rows = [{"name": each.name, "status": each.status, "detail": each.detail} for each in found]
        typer.echo(json.dumps({"ok": not failed, "checks": rows}, indent=2))
    raise typer.Exit(min(failed, default=0))


async def _run(config: Config, as_json: bool) -> list[Check]:
    found = []
    async for each in _checks(config):
        found.append(each)
        _print_lines([each], as_json)
    return found


async def _checks(config: Config) -> AsyncIterator[Check]:
    async for each in checks.configuration(config):
        yield each
    for each in (*checks.programs(config), *checks.disks(config)):
        yield each
    async with AsyncExitStack() as stack:
        try:
            url, _ = stack.enter_context(redis_server(config))
            db = connect(url)
        except SaveAnyError as error:
            remaining = _without_redis(config, error)
        else:
            stack.push_async_callback(db.close)
            remaining = checks.services(config, db)
        async for each in remaining:
            yield each


async def _without_redis(config: Config, error: SaveAnyError) -> AsyncIterator[Check]:
    yield checks.no_redis(error)
    async for each in checks.port(config):
        yield each
    async for each in checks.storages(config):
        yield each
    yield checks.telegram_unknown()


def _print_lines(found: list[Check], as_json: bool) -> None:
    for each in [] if as_json else found:
        typer.echo(f"{each.status:8} {each.name}: {' '.join(each.detail.split())}")
