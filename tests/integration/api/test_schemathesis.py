"""Schemathesis compares the OpenAPI description with the server: every operation and every check."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from saveany.api.server import ApiServer
from saveany.sources import SOURCES
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Store, WorkerInfo
from saveany.store.workers import SILENCE_MS
from storages.memory import MemoryOptions, MemoryStorage
from tests.integration.api.conftest import TOKEN, url_of
from tests.integration.worker.conftest import FilesSource
from workers.link_queries import reply_to_link_queries
from workers.storage_queries import reply_forever

#: Test cases per operation; set it to some hundreds for a thorough run.
MAX_EXAMPLES = os.environ.get("SCHEMATHESIS_MAX_EXAMPLES", "8")

CONFIG = """
[checks]
enabled = true  # all of them

[checks.positive_data_acceptance]
# A string may be a valid link or not, a key may be used twice: 400 and 422 are no surprise.
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "503"]

[[operations]]
# The contract (seed 002): DELETE cancels a task, which stays readable, and which a retry makes live again.
include-path-regex = "^/api/v1/tasks/"
checks.use_after_free.enabled = false

[[operations]]
# A link to a message needs a Telegram account, and there is none here: 503. The check above finds the others.
include-path-regex = "^/api/v1/links$"
checks.not_a_server_error.enabled = false
"""


@pytest.fixture
async def worker(store: Store) -> AsyncIterator[None]:
    """A worker that sends heartbeats, lists its storages and resolves links, but claims no task."""
    storages = {"local1": "", "local2": "", "local3": ""}
    sources = {each.type: FilesSource({"a.bin": b"x"}) for each in SOURCES}
    info = WorkerInfo(
        id="w",
        host="nas",
        pid=7,
        started_at=0,
        storages=storages,
        sources=dict.fromkeys(sources, ""),
        accounts={"bot": ""},
    )

    async def beat_for_ever() -> None:
        while True:
            await store.workers.heartbeat(info)
            await asyncio.sleep(SILENCE_MS / 3000)

    await store.workers.heartbeat(info)
    opened = StorageSet(
        StorageHandle(store, MemoryStorage(MemoryOptions(name=name, type="memory"))) for name in storages
    )
    for handle in opened.values():
        assert await handle.probe()
    living = asyncio.gather(
        beat_for_ever(),
        reply_forever(store.queries, opened),
        reply_to_link_queries(store.link_queries, sources, opened),
    )
    yield
    living.cancel()
    await asyncio.wait([living])


@pytest.mark.timeout(900)  # hundreds of requests for each operation
@pytest.mark.usefixtures("worker")
async def test_schemathesis_finds_nothing(server: ApiServer, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    arguments = ["--config-file", str(config), "run", f"{url_of(server)}/openapi.json"]
    arguments += ["--header", f"Authorization: Bearer {TOKEN}"]
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
