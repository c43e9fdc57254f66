"""Which modules each kind of process does without: each loaded module costs memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

#: Prints the modules that are loaded at the end; one that waits for its first use is not loaded.
_REPORT = """
import json, sys
print(json.dumps([n for n, m in sys.modules.items() if m and type(m).__name__ != "_LazyModule"]))
"""
_COMMAND = """
import sys
from saveany.cli import app
sys.argv = ["saveany", *sys.argv[1:]]
try:
    app(prog_name="saveany")
except SystemExit:
    pass
"""

#: For all: imported by a library for something that SaveAny does not use.
_LIBRARIES = {
    "httpx._main": "httpx's command line",
    "jwt": "logins to Redis with tokens",
    "rich.traceback": "structlog's tracebacks with the values of variables",
}
_CLIENTS = _LIBRARIES | {
    "telethon": "only the API talks to Telegram",
    "fastapi": "the API runs in another process",
    "uvicorn": "the API runs in another process",
    "redis": "only the API reads the store",
    "arq": "workers run in other processes",
    "asyncio": "requests follow each other",
    "anyio._backends": "requests follow each other",
    "rich": "the terminal is needed only for what there is to show",
    "saveany.config.schema": "one table of the configuration is enough",
    "storages": "the API checks names of storages",
    "sqlalchemy": "only the API reads the catalogue",
}
_SERVICES = _LIBRARIES | {
    "aiohttp": "for S3 only",
    "aiobotocore": "for S3 only",
    "asyncssh": "for SFTP only",
    "bcrypt": "for SFTP only",
    "cryptography": "for files on a CDN, and for SFTP",
    "jinja2": "for name templates only",
    "pygments": "for terminals only",
    "re2": "for patterns of rules and filters",
    "rich": "for terminals only",
    "tomlkit": "for changes of the configuration only",
    "alembic": "for changes of the schema only",
    "sqlalchemy": "for the process that opens the catalogue: `saveany run` forks the others",
}
_API = {"fastapi": "for the API only", "starlette": "for the API only", "uvicorn": "for the API only"}
_TASKS = {"arq": "for workers only", "workers": "for workers only"}
_CATALOGUE = {"saveany.catalogue": "workers use Redis only"}
_WORKERS = _TASKS | {"telethon": "for workers and the bot"}
_BOT = {"babel": "for the bot only", "segno": "for the bot only"}


def loaded(code: str, *words: str) -> set[str]:
    program = [sys.executable, "-c", code + _REPORT, *words]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def assert_without(modules: set[str], unused: Mapping[str, str]) -> None:
    #: cryptography itself is empty; its modules are not
    parts = {"cryptography": "cryptography.hazmat.bindings._rust"}
    found = {name: why for name, why in unused.items() if parts.get(name, name) in modules}
    assert not found


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["history"],
        ["files"],
        ["folders"],
        ["cancel", "x"],
        ["retry", "x"],
        ["pause", "x"],
        ["resume", "x"],
        ["queue", "pause"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_call_the_api_import_neither_the_services_nor_the_configuration(
    words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[api]\nhost = "127.0.0.1"\nport = 1\ntoken = "t"\n')
    modules = loaded(_COMMAND, "--config", str(file), *words)
    assert "httpx" in modules  # the request was sent
    assert_without(modules, _CLIENTS)


def test_the_help_page_imports_nothing_that_commands_need() -> None:
    unused = _SERVICES | _API | _WORKERS | {"pydantic": "for options", "httpx": "for requests"}
    for shown in ("rich", "rich.traceback", "pygments"):  # typer formats the page with them
        del unused[shown]
    assert_without(loaded(_COMMAND, "--help"), unused)


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        ("saveany.cli.api, saveany.api.server", _SERVICES | _WORKERS | _BOT),
        ("saveany.cli.worker, workers.main", _SERVICES | _API | _BOT | _CATALOGUE),
        ("saveany.cli.bot, saveany.bot.app", _SERVICES | _API | _TASKS),
    ],
    ids=["api", "worker", "bot"],
)
def test_a_service_imports_nothing_that_only_others_need(modules: str, unused: Mapping[str, str]) -> None:
    assert_without(loaded(f"import {modules}"), unused)


def test_a_deferred_module_works_when_it_is_used() -> None:
    modules = loaded("from saveany.filters import search\nassert search('b+', 'abbc')")
    assert "re2" in modules


def test_the_catalogue_does_without_the_parts_of_its_libraries_that_it_does_not_use() -> None:
    modules = loaded("import saveany.catalogue.catalogue")
    assert "sqlalchemy" in modules
    assert_without(modules, {"sqlalchemy.orm": "6 MB", "alembic": "8 MB", "asyncpg": "for PostgreSQL only"})
