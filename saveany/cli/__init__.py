"""The command line: `saveany COMMAND`. One file per command, listed in `COMMANDS`.

A command's module is imported when the command runs, which keeps `saveany --help` and shell completion fast.
Exit codes: 0 success; 1 failure; 2 the configuration or the command line is wrong; 130 interrupted. The help
of a command lists the other codes that it has.

To add a command, write a function with typer's annotations and add a row to `COMMANDS`.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from saveany import __version__, advice
from saveany.cli import usage
from saveany.errors import ConfigError, SaveAnyError

if TYPE_CHECKING:
    from saveany.config import Config

#: Command -> (its function or typer app, first line of its help).
COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("saveany.cli.init:init", "Write a first config.toml."),
    "config": ("saveany.cli.config:app", "Show and change the configuration."),
    "demo": ("saveany.cli.demo:demo", "Try SaveAny on this machine."),
    "run": ("saveany.cli.run:run", "Run everything on this machine."),
    "api": ("saveany.cli.api:api", "Run the HTTP API."),
    "worker": ("saveany.cli.worker:worker", "Run one worker process."),
    "bot": ("saveany.cli.bot:bot", "Run the Telegram bot."),
    "check": ("saveany.cli.check:check", "Check the configuration and everything it names."),
    "backup": ("saveany.cli.backup:backup", "Back up the catalogue, Redis and the configuration."),
    "restore": ("saveany.cli.backup:restore", "Restore a backup."),
    "catalogue": ("saveany.cli.catalogue:app", "Compare the catalogue with the storages."),
    "login": ("saveany.cli.login:login", "Log in to a Telegram account."),
    "import": ("saveany.cli.import_:import_", "Move in from SaveAny-Bot, tdl, Telethon or Pyrogram."),
    "add": ("saveany.cli.add:add", "Save links."),
    "upload": ("saveany.cli.upload:upload", "Save files of this machine."),
    "archive": ("saveany.cli.archive:app", "Archive whole chats."),
    "chats": ("saveany.cli.chats:chats", "List the chats of a Telegram account."),
    "export": ("saveany.cli.export:export", "Write the list of the files in a chat."),
    "live": ("saveany.cli.live:app", "Record chats when they go live."),
    "resolve": ("saveany.cli.resolve:resolve", "Show what a link would save."),
    "ls": ("saveany.cli.ls:ls", "List tasks."),
    "history": ("saveany.cli.history:history", "List tasks that have ended."),
    "files": ("saveany.cli.files:app", "List and change saved files."),
    "folders": ("saveany.cli.folders:app", "List and change folders of saved files."),
    "trash": ("saveany.cli.trash:app", "List, restore and remove deleted files."),
    "show": ("saveany.cli.show:show", "Show everything about one task."),
    "watch": ("saveany.cli.watch:watch", "Watch all tasks until Ctrl-C."),
    "cancel": ("saveany.cli.cancel:cancel", "Cancel tasks."),
    "retry": ("saveany.cli.retry:retry", "Retry failed or canceled tasks."),
    "stop": ("saveany.cli.stop:stop", "Stop tasks, and keep the files that are saved."),
    "pause": ("saveany.cli.pause:pause", "Pause tasks."),
    "resume": ("saveany.cli.resume:resume", "Resume paused tasks."),
    "queue": ("saveany.cli.queue:app", "Show, pause and resume the queue."),
    "limits": ("saveany.cli.limits:limits", "Show or change the limits."),
    "key": ("saveany.cli.key:app", "List, add and revoke keys of the API."),
    "storages": ("saveany.cli.storages:app", "List, test, browse, add and remove storages."),
}

FAILED, USAGE, INTERRUPTED = 1, 2, 130

#: New objects after which the garbage collector looks for cycles. Telegram's replies are large trees without
#: any, and so is what imports make; with Python's default of 700, looking through them took a sixth of the
#: time of reading a chat.
_GC_THRESHOLD = 10_000


class Commands(usage.CommandGroup):
    """The commands of `COMMANDS`, imported when they run. Reports errors on stderr and by the exit code."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, (_, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))  # enough for the help page

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse the options of `saveany` itself."""
        with _errors_reported():
            return super().make_context(*args, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begins with, imported."""
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _errors_reported():
            return super().invoke(ctx)


@contextmanager
def _errors_reported() -> Iterator[None]:
    """Inside, an error ends the program with a line on stderr and an exit code."""
    try:
        yield
    except SaveAnyError as error:
        fail(error.message, USAGE if isinstance(error, ConfigError) else FAILED)
    except (KeyboardInterrupt, typer.Abort):  # a prompt turns the first into the second
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, BrokenPipeError):
        raise  # typer ends the program silently
    except usage.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise  # typer prints the help page
        fail(usage.describe(error), USAGE)
    except Exception as error:
        fail(_bug(error), FAILED)


def exit_code(main: Callable[[], object]) -> int:
    """Run `main` as a command is run; returns the exit code."""
    try:
        with _errors_reported():
            main()
    except typer.Exit as end:
        return int(end.exit_code)
    return 0


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    _add_global_options(command)
    return command


def _add_global_options(command: Any) -> None:
    """Accept the options of `saveany` itself after the name of a command, too."""
    for inner in getattr(command, "commands", {}).values():
        _add_global_options(inner)
    command.params.extend(_declared_global_options())


def _declared_global_options() -> list[Any]:
    """The options of `_global_options` as typer declares them."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_global_options)
    return [each for each in typer.main.get_command(declared).params if each.name in ("config", "version")]


def _keep_config(ctx: typer.Context, path: Path | None) -> None:
    """Store the value where `saveany --config` stores it."""
    if path is not None:
        ctx.find_root().params["config"] = path
        advice.set_program(sys.argv[0], path)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saveany {__version__}")
        raise typer.Exit


def _global_options(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", callback=_keep_config, hidden=True, expose_value=False)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, hidden=True, expose_value=False)
    ] = False,
) -> None:
    """Declares the options of `saveany` that may follow a command. It never runs."""


def _bug(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # locations, innermost first, without the text of the error, which may quote a secret
    frames = reversed(traceback.extract_tb(error.__traceback__)[-4:])
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"this is a bug in SaveAny, please report it: {type(error).__name__} at {where}"


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the program. Prints `message` on stderr, with `error: ` before each line."""
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(code)


def load_config(ctx: typer.Context, *, warn: bool = True) -> Config:
    """The configuration that `--config` and the environment name. Prints its warnings on stderr."""
    from saveany.config import load  # imports pydantic, which is slow; `--help` does not need it
    from saveany.net import trust

    config = load(config_path(ctx))
    trust.add(config.net.ca_file)
    for warning in config.warnings if warn else ():
        typer.echo(f"warning: {warning}", err=True)
    return config


def config_path(ctx: typer.Context) -> Path | None:
    """The value of `--config`, at any position of the command line."""
    path: Path | None = ctx.find_root().params.get("config")
    return path


def file_to_change(ctx: typer.Context) -> Path:
    """The configuration file that `--config` and the environment name. Raises `ConfigError` if there is
    none."""
    from saveany.config import files

    file = files.find(config_path(ctx), os.environ)
    if file is None or not file.exists():
        missing = "there is no file {file}" if file else "there is no configuration file"
        raise ConfigError(
            f"{missing}; `{{command}}` writes one", file=str(file), command=advice.command("init")
        )
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
    """Save media from Telegram and the web in your own storages."""
    advice.set_program(sys.argv[0], config)


def main() -> None:
    """Entry point of the `saveany` command."""
    gc.set_threshold(_GC_THRESHOLD)
    try:
        app(prog_name="saveany")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
