"""The first run: without a configuration, SaveAny is set up in the browser.

`saveany run` and `saveany api` then serve the web UI in setup mode. It asks for a one-time code that is in
the log, and writes a first config.toml. From then on setup mode is over for good: everything else is set in
the web UI of the running SaveAny.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from saveany.config import files
from saveany.logs import get_logger
from saveany.logs import setup as set_up_log

#: Seconds between two checks whether somebody has set SaveAny up.
_POLL_SECONDS = 1.0

#: Variable with the address to listen on. Without a token it is an error to name one that others can reach.
HOST = "SAVEANY_API_HOST"

log = get_logger("saveany.first_run")


def is_needed(path: Path | None, env: Mapping[str, str] = os.environ) -> bool:
    """Whether there is no configuration: neither a file, nor variables that say who may use SaveAny, where it
    saves files, or how it reaches Telegram. `path` is the file that was named on the command line."""
    if path is not None or files.find(path, env) is not None:
        return False
    from saveany.config.variables import read_variables  # loads the schema

    return not any(_is_essential(setting.key.dotted) for setting in read_variables(env).settings)


def _is_essential(key: str) -> bool:
    is_test_server = key.startswith("telegram.dc_")
    tables = ("users", "storages", "api.token", "api.keys")
    return key in tables or (key.startswith("telegram.") and not is_test_server)


def without_host(env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, as it is valid before there is a token."""
    return {name: value for name, value in env.items() if name != HOST}


def serve() -> None:
    """Serve the setup until SaveAny has a configuration. Ends the program with a signal that stops it."""
    from saveany.first_run.server import serve

    serve(files.DEFAULT_FILES[0])


def wait() -> None:
    """Wait until another process has been set up, which has the same configuration file."""
    set_up_log()
    log.info("waiting_for_setup", reason="there is no configuration yet; open the address of the API")
    while is_needed(None):
        time.sleep(_POLL_SECONDS)
