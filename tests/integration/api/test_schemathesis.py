"""The description against the server, by machine: every operation, every check, sequences of requests too."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from saveany.api.server import ApiServer
from tests.integration.api.conftest import TOKEN, url_of

#: Test cases per operation; set it to some hundreds for a thorough run.
MAX_EXAMPLES = os.environ.get("SCHEMATHESIS_MAX_EXAMPLES", "15")

CONFIG = """
[checks.positive_data_acceptance]
# A string may be a valid link or not, a key may be used twice: 400 and 422 are no surprise.
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "503"]
"""


async def test_schemathesis_finds_nothing(server: ApiServer, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    arguments = ["--config-file", str(config), "run", f"{url_of(server)}/openapi.json"]
    arguments += ["--header", f"Authorization: Bearer {TOKEN}", "--checks", "all"]
    arguments += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", MAX_EXAMPLES]
    arguments += ["--exclude-path-regex", "/events$"]  # endless; test_events.py has them
    run = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "schemathesis.cli", *arguments],
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
