"""How messages tell the reader to run a command, so that it works when it is pasted.

`SAVEANY_COMMAND` says what stands before the command's name: the image and docker-compose.yml set it, and a
process sets it for those that it starts. Without it, it is `saveany`.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

VARIABLE = "SAVEANY_COMMAND"

#: Where commands look for a configuration by themselves (`saveany.config.loader`).
_DEFAULT_CONFIG = "config.toml"

#: What `set_program` has remembered.
_own = ""


def command(words: str) -> str:
    """A command line to paste: `command("login --phone")`."""
    return f"{os.environ.get(VARIABLE) or 'saveany'} {words}"


def set_program(program: str, config: Path | None) -> None:
    """Remember how this process was called, unless the surroundings say how to call it.

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
