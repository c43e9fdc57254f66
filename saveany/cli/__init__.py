"""The command line: `saveany COMMAND`. One file per command, listed in `COMMANDS`.

A command's module is imported when the command runs, so that `saveany --help` and shell completion are quick.
Exit codes: 0 done; 1 it failed; 2 the configuration or the command line is wrong; 130 interrupted. A command
that has others says so in its help.

To add a command, write a plain function with typer's annotations and add its row here.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from saveany import __version__, advice
from saveany.errors import ConfigError, SaveAnyError

if TYPE_CHECKING:
    from saveany.config import Config

#: Command -> (where it is: a function or a typer app, what it does).
COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("saveany.cli.init:init", "Write a first config.toml."),
    "config": ("saveany.cli.config:app", "Show and change the configuration."),
    "demo": ("saveany.cli.demo:demo", "Try everything on this machine."),
    "run": ("saveany.cli.run:run", "Run everything on this machine."),
    "api": ("saveany.cli.api:api", "Run the HTTP API."),
    "worker": ("saveany.cli.worker:worker", "Run one worker process."),
    "bot": ("saveany.cli.bot:bot", "Run the Telegram bot."),
    "check": ("saveany.cli.check:check", "Check the configuration and everything it names."),
    "login": ("saveany.cli.login:login", "Log a Telegram account in."),
    "add": ("saveany.cli.add:add", "Save links."),
    "ls": ("saveany.cli.ls:ls", "List tasks."),
    "history": ("saveany.cli.history:history", "List tasks that have ended."),
    "show": ("saveany.cli.show:show", "Show everything about one task."),
    "watch": ("saveany.cli.watch:watch", "Watch all tasks until Ctrl-C."),
    "cancel": ("saveany.cli.cancel:cancel", "Cancel tasks."),
    "retry": ("saveany.cli.retry:retry", "Try failed or canceled tasks again."),
    "pause": ("saveany.cli.pause:pause", "Pause tasks."),
    "resume": ("saveany.cli.resume:resume", "Resume paused tasks."),
    "queue": ("saveany.cli.queue:app", "Show, pause and resume the queue."),
    "limits": ("saveany.cli.limits:limits", "Show or change the limits."),
    "storages": ("saveany.cli.storages:app", "List, try, browse, add and remove storages."),
}

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """The commands of `COMMANDS`, imported when they run; what they raise becomes a line and an exit code."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, (_, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))  # enough for the help page

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself."""
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SaveAnyError as error:
            fail(error.message, USAGE if isinstance(error, ConfigError) else FAILED)
        except (KeyboardInterrupt, typer.Abort):  # a prompt makes the second of the first
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, BrokenPipeError):
            raise  # typer ends quietly
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise  # a wrong command line; typer explains it
            fail(_bug(error), FAILED)


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    _take_global_options(command)
    return command


def _take_global_options(command: Any) -> None:
    """Let a command, and those inside it, take the options of `saveany` itself after their own name too."""
    for inner in getattr(command, "commands", {}).values():
        _take_global_options(inner)
    command.params.extend(_late_options())


def _late_options() -> list[Any]:
    """The options of `_late` as typer makes them."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_late)
    return [each for each in typer.main.get_command(declared).params if each.name in ("config", "version")]


def _keep_config(ctx: typer.Context, path: Path | None) -> None:
    """Put the value where that of `saveany --config` is kept."""
    if path is not None:
        ctx.find_root().params["config"] = path
        advice.set_program(sys.argv[0], path)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saveany {__version__}")
        raise typer.Exit


def _late(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", callback=_keep_config, hidden=True, expose_value=False)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, hidden=True, expose_value=False)
    ] = False,
) -> None:
    """Never run; its options are those that may stand after a command."""


def _bug(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # the places, innermost first, but not the error's own text: it may quote a secret
    frames = reversed(traceback.extract_tb(error.__traceback__)[-4:])
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"this is a bug in SaveAny, please report it: {type(error).__name__} at {where}"


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the program with `message` on stderr, each of its lines after `error: `."""
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(code)


def load_config(ctx: typer.Context, *, warn: bool = True) -> Config:
    """The configuration that `--config` and the environment name; its warnings go to stderr."""
    from saveany.config import load  # pydantic takes a while; `--help` does without
    from saveany.net import trust

    config = load(config_path(ctx))
    trust.add(config.net.ca_file)
    for warning in config.warnings if warn else ():
        typer.echo(f"warning: {warning}", err=True)
    return config


def config_path(ctx: typer.Context) -> Path | None:
    """The value of `--config`, wherever on the command line it stands."""
    path: Path | None = ctx.find_root().params.get("config")
    return path


def file_to_change(ctx: typer.Context) -> Path:
    """The configuration file that `--config` and the environment name. `ConfigError` if there is none."""
    from saveany.config import loader

    file = loader.find(config_path(ctx), os.environ)
    if file is None or not file.exists():
        missing = f"there is no {file}" if file else "there is no configuration file"
        raise ConfigError(f"{missing}; `{advice.command('init')}` writes one")
    return file


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def options(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file.", envvar="SAVEANY_CONFIG")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take media out of Telegram and keep it in your own storages."""
    advice.set_program(sys.argv[0], config)


def main() -> None:
    """Entry point of the `saveany` command."""
    try:
        app(prog_name="saveany")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
