"""Many who use the catalogue during an outage do not wait for each other."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.database import FILE_NAME, Database
from saveany.errors import CatalogueUnavailable
from saveany.store import Store
from tests.fixtures.waiting import until


async def test_writers_fail_together_while_another_process_locks_the_database(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.catalogue.database._LOCKED_SECONDS", 0.5)
    catalogue = Catalogue("", tmp_path, store)
    await catalogue.open()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(60):  # one after the other they would need 100 s
            writing = [catalogue.files.note_copy("x", missing=False) for _ in range(200)]
            found = await asyncio.gather(*writing, return_exceptions=True)
    assert {type(each) for each in found} == {CatalogueUnavailable}
    await catalogue.files.note_copy("x", missing=False)
    await catalogue.close()


async def test_those_who_open_the_database_share_an_attempt(tmp_path: Path) -> None:
    database, attempts = Database("", tmp_path), 0

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        raise CatalogueUnavailable("no reply")

    async def succeed() -> None:
        return

    database.on_open = fail
    found = await asyncio.gather(*(database.open() for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [CatalogueUnavailable] * 5
    assert attempts == 1
    database.on_open = succeed
    await database.open()
    database.on_open = fail
    await database.open()
    await database.close()


@pytest.mark.parametrize("step", range(12))
async def test_uses_can_be_canceled_twice_at_any_step(tmp_path: Path, step: int) -> None:
    """As at the end of a process: nothing waits for ever, and no connection is left open."""
    before = threading.active_count()
    database = Database("", tmp_path)

    async def use() -> None:
        async with database.write() as connection:
            await connection.execute(text("SELECT count(*) FROM sqlite_master"))

    using = [asyncio.create_task(use()) for _ in range(3)]
    for _ in range(step):
        await asyncio.sleep(0.0003)
    for _ in range(2):
        for task in using:
            task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await asyncio.gather(*using, return_exceptions=True)
        await database.quiet()
        await database.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
    await until(lambda: threading.active_count() <= before)
