"""`saveany import`: take over what SaveAny-Bot, tdl and other programs leave behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saveany import advice
from saveany.cli import FAILED, load_config
from saveany.cli.client import JsonOption, printable
from saveany.cli.role import prepare, redis_server, run_async
from saveany.cli.tables import new_table, print_table
from saveany.config import Config
from saveany.config.schema import LogConfig
from saveany.embedded import FOLDER
from saveany.errors import ConfigError
from saveany.store import Store, connect

if TYPE_CHECKING:
    from saveany.moving_in.apply import StepOutcome
    from saveany.moving_in.found import Finds
    from saveany.moving_in.plan import Plan, Present

#: Maximum number of characters that are read from stdin.
_MAX_STDIN = 1 << 20


def import_(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Files or folders; - reads a session string from stdin."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without a question.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move in from SaveAny-Bot, tdl, Telethon or Pyrogram.

    PATH may be the folder of SaveAny-Bot, its config.toml or its database; a file
    that `tdl backup` has written; a .session file or a session string of Telethon
    or Pyrogram. The command recognises each by its content, shows what it will
    take over and what it cannot, and asks before it does it. It changes nothing in
    these files. What is here already stays; to import the same again changes
    nothing. SaveAny may be running; run this on its machine.

    A login moves: stop the program that has it first, on every machine.

    With --json and without --yes it prints the plan only. Exit codes: 0 all steps
    are done; 1 some are not.
    """
    config = load_config(ctx, warn=False)
    prepare(config.model_copy(update={"log": LogConfig(level="error")}))
    plan = _make_plan(config, _find(paths, config))
    if as_json and not yes:
        typer.echo(json.dumps(_plan_json(plan)))
        return
    if not as_json:
        _print_plan(plan)
    if not plan.steps:
        if as_json:
            typer.echo(json.dumps(_plan_json(plan)))
        return
    if not yes:
        _confirm()
    outcomes = _apply(plan)
    if as_json:
        typer.echo(json.dumps(_plan_json(plan, outcomes)))
    else:
        _print_outcomes(outcomes)
    if any(each.problem for each in outcomes):
        raise typer.Exit(FAILED)


def _find(paths: Sequence[str], config: Config) -> Finds:
    from saveany.moving_in.found import Finds
    from saveany.moving_in.recognise import recognise, recognise_text

    finds = Finds()
    if "-" in paths:
        recognise_text(sys.stdin.read(_MAX_STDIN), "stdin", finds)
    recognise([Path(each) for each in paths if each != "-"], finds, config.file)
    return finds


def _make_plan(config: Config, finds: Finds) -> Plan:
    """The plan for what was found. Starts Redis if this installation has used it before."""
    from saveany.moving_in.apply import read_present
    from saveany.moving_in.plan import make_plan, planned_config

    after, _, _ = planned_config(config, finds)

    async def present(url: str) -> Present:
        if not url:
            return await read_present(after, None)
        store = Store(connect(url))
        try:
            await store.db.check()
            return await read_present(after, store)
        finally:
            await store.db.close()

    if after.redis.url == "embedded" and not (after.data_dir / FOLDER).exists():
        return make_plan(config, finds, run_async(present("")))
    with redis_server(after) as (url, _):
        return make_plan(config, finds, run_async(present(url)))


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal for a question; add --yes to do this: {command} PATH --yes",
            command=advice.command("import"),
        )
    typer.confirm("Do this?", abort=True)


def _apply(plan: Plan) -> list[StepOutcome]:
    from saveany.moving_in.apply import Importer, StepOutcome, write_configuration
    from saveany.moving_in.steps import ConfigStep

    config = write_configuration(plan)
    done = [StepOutcome(each) for each in plan.steps if isinstance(each, ConfigStep)]
    others = [each for each in plan.steps if not isinstance(each, ConfigStep)]

    async def run(url: str) -> list[StepOutcome]:
        from saveany.catalogue.catalogue import Catalogue

        store = Store(connect(url))
        catalogue = Catalogue.of(config, store)
        try:
            await store.db.check()
            return await Importer(config, store, catalogue).run(others)
        finally:
            await catalogue.close()
            await store.db.close()

    if not others:
        return done
    with redis_server(config) as (url, _):
        return [*done, *run_async(run(url))]


def _print_plan(plan: Plan) -> None:
    if plan.steps:
        table = new_table("WHAT", "FOR", "CHANGE", wide="CHANGE")
        table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"  # nothing of a plan is cut
        for step in plan.steps:
            table.add_row(step.kind, printable(step.subject), _lines(step.detail))
        print_table(table)
    else:
        typer.echo("Nothing to do.")
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if plan.left_out:
        typer.echo("Not taken over:")
        for each in plan.left_out:
            typer.echo(f"  {printable(each.name)}: {printable(str(each.reason))}")


def _print_outcomes(outcomes: Sequence[StepOutcome]) -> None:
    for each in outcomes:
        if each.problem is not None:
            typer.echo(f"error: {each.step.kind} {printable(each.step.subject)}: {each.problem}", err=True)
        elif each.note:
            typer.echo(f"{each.step.kind} {printable(each.step.subject)}: {printable(each.note)}")
    count = sum(each.problem is None for each in outcomes)
    typer.echo(f"{count} of {len(outcomes)} steps done.")


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def _plan_json(plan: Plan, outcomes: Sequence[StepOutcome] = ()) -> dict[str, Any]:
    results = {id(each.step): each for each in outcomes}

    def step_json(step: Any) -> dict[str, Any]:
        shown = {"kind": step.kind, "subject": step.subject, "detail": step.detail}
        if (result := results.get(id(step))) is not None:
            shown |= {
                "done": result.problem is None,
                "note": result.note,
                "problem": str(result.problem) if result.problem else None,
            }
        return shown

    return {
        "steps": [step_json(each) for each in plan.steps],
        "warnings": [str(each) for each in plan.warnings],
        "left_out": [{"name": each.name, "reason": str(each.reason)} for each in plan.left_out],
    }
