"""Command lines in messages, which the reader can paste into a shell.

The variable `SAVEANY_COMMAND` holds what precedes the name of a command. The image and docker-compose.yml set
it, and a process sets it for the processes that it starts. The default is `saveany`.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

VARIABLE = "SAVEANY_COMMAND"

#: File that commands read without --config (`saveany.config.loader`).
_DEFAULT_CONFIG = "config.toml"

#: The value that `set_program` has put into the variable.
_own = ""


def command(words: str) -> str:
    """A command line to paste: `command("login --phone")`."""
    return f"{os.environ.get(VARIABLE) or 'saveany'} {words}"


def set_program(program: str, config: Path | None) -> None:
    """Record how this process was called, unless the environment already says how to call SaveAny.

    `program` is `sys.argv[0]`, `config` the value of `--config`.
    """
    global _own
    if os.environ.get(VARIABLE) not in (None, "", _own):
        return
    words = ["saveany"]
    if Path(program).name == "saveany" and not _is_on_path(program):
        words = [program]
    if config is not None and str(config) != _DEFAULT_CONFIG:
        words += ["--config", str(config)]
    os.environ[VARIABLE] = _own = shlex.join(words)


def _is_on_path(program: str) -> bool:
    found = shutil.which("saveany")
    return found is not None and Path(program).exists() and Path(found).samefile(program)
