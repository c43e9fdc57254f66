"""The schema: migrations, and which database belongs to an installation."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError

from saveany.catalogue import HistoryFilter, schema
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.database import Database
from saveany.catalogue.schema import identity, migrate, newest
from saveany.catalogue.tables import metadata
from saveany.errors import CatalogueUnavailable, ConfigError
from saveany.store import Store


@pytest.fixture(params=["created", "migrated"])
async def database(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Database]:
    """A database that was created at once, or by all migrations."""
    database = Database(database_url, tmp_path)
    with monkeypatch.context() as patch:
        if request.param == "migrated":
            patch.setattr(schema, "_create", schema._upgrade)
        await migrate(database)
    yield database
    await database.close()


async def test_a_database_has_the_tables_however_it_was_made(database: Database) -> None:
    async with database.read() as connection:
        assert await connection.run_sync(_differences) == []
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == newest()
        assert await connection.scalar(text("SELECT count(*) FROM folders WHERE id = 0")) == 1
        rest = "sqlite_master WHERE sql LIKE '%trigram%' OR type = 'trigger'"
        if not database.is_sqlite:
            rest = "pg_indexes WHERE indexdef LIKE '%gin_trgm_ops%'"
        wanted = 2 * 4 if database.is_sqlite else 2
        assert await connection.scalar(text(f"SELECT count(*) FROM {rest}")) == wanted
    assert len(await identity(database)) == 32


def _differences(connection: Connection) -> list[object]:
    def is_ours(found: object, name: str | None, kind: str, *_: object) -> bool:
        return "_search" not in str(name)

    options = {"include_object": is_ours, "compare_type": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_one_of_several_processes_migrates(database_url: str, tmp_path: Path) -> None:
    databases = [Database(database_url, tmp_path) for _ in range(4)]
    await asyncio.gather(*(migrate(database) for database in databases))
    assert len({await identity(database) for database in databases}) == 1
    for database in databases:
        await database.close()


async def test_a_migration_that_is_interrupted_has_changed_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url, tmp_path)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("saveany.catalogue.schema.uuid4", fail)  # after all tables were made
        with pytest.raises(ZeroDivisionError):
            await migrate(database)
    async with database.read() as connection:
        tables = "sqlite_master WHERE name = 'tasks'"
        if database_url:
            tables = "pg_tables WHERE tablename = 'tasks'"
        assert await connection.scalar(text(f"SELECT count(*) FROM {tables}")) == 0
    await migrate(database)
    assert await identity(database)
    await database.close()


@pytest.mark.parametrize("before", ["", "0001"])
async def test_a_migration_that_is_killed_has_changed_nothing(
    before: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url, tmp_path)
    if before:
        await migrate_to(before, database, monkeypatch)
    program = [
        sys.executable,
        "-m",
        "tests.integration.catalogue.halting_migration",
        database_url,
        str(tmp_path),
    ]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"halted\n"
    process.kill()
    await process.wait()
    async with database.connection() as connection:
        assert await schema._version(connection) == before
    await asyncio.gather(migrate(database), migrate(database))
    async with database.connection() as connection:
        assert await schema._version(connection) == newest()
        assert await connection.run_sync(_differences) == []
    await database.close()


async def migrate_to(version: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a database as an older version has left it."""
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_create", schema._upgrade)
        patch.setattr(schema, "newest", lambda: version)
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, version))
        await migrate(database)


async def test_a_newer_schema_is_refused(any_catalogue: Catalogue, store: Store) -> None:
    await any_catalogue.open()
    database = any_catalogue._database
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=f"newer SaveAny .schema 9999, this one knows {newest()}"):
        await migrate(database)


async def test_a_second_machine_needs_a_common_database(
    store: Store, catalogue: Catalogue, tmp_path: Path
) -> None:
    await catalogue.open()
    other = Catalogue("", tmp_path / "other", store)
    with pytest.raises(ConfigError, match=r"catalogue\.url"):
        await other.open()
    assert not (tmp_path / "other").exists()
    await other.close()


async def test_a_file_of_another_installation_is_refused(store: Store, tmp_path: Path) -> None:
    first = Catalogue("", tmp_path, store)
    await first.open()
    await store.recording.establish_catalogue("0" * 32)
    second = Catalogue("", tmp_path, store)
    with pytest.raises(ConfigError, match=r"catalogue\.url"):
        await second.open()
    for each in (first, second):
        await each.close()


async def test_only_its_owner_can_read_the_file(catalogue: Catalogue, tmp_path: Path) -> None:
    await catalogue.open()
    for file in (tmp_path / "data").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


async def test_a_database_that_cannot_be_reached_stops_no_start(store: Store, tmp_path: Path) -> None:
    catalogue = Catalogue("postgresql://nobody@127.0.0.1:1/nothing", tmp_path, store)
    await catalogue.open()
    with pytest.raises(CatalogueUnavailable):
        await catalogue.history.page(HistoryFilter())
    await catalogue.close()


async def test_a_file_that_is_no_database_is_reported(store: Store, tmp_path: Path) -> None:
    (tmp_path / "catalogue.db").write_bytes(os.urandom(4096))
    catalogue = Catalogue("", tmp_path, store)
    with pytest.raises(CatalogueUnavailable, match="not a database"):
        await catalogue.history.page(HistoryFilter())
    await catalogue.close()


async def test_sqlite_confirms_what_is_on_the_disk(store: Store, tmp_path: Path) -> None:
    database = Database("", tmp_path)
    async with database.connection() as connection:
        found = [
            await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    await database.close()
    assert found == ["wal", 2, 1]


async def test_the_text_of_an_error_has_no_values(any_catalogue: Catalogue) -> None:
    """They may be tokens and secrets, and errors are logged."""
    secret = uuid4().hex
    with pytest.raises((DBAPIError, CatalogueUnavailable)) as caught:
        async with any_catalogue._database.write() as connection:
            await connection.execute(text("SELECT 1 FROM x WHERE y = :secret"), {"secret": secret})
    logged = "".join(traceback.format_exception(caught.value))
    assert "SELECT 1 FROM x" in logged
    assert secret not in logged


def test_every_reference_has_an_index() -> None:
    """A row that is removed would be sought in all rows that may refer to it."""
    for table in metadata.tables.values():
        indexed = {next(iter(index.columns)).name for index in table.indexes}
        indexed |= {
            next(iter(each.columns)).name
            for each in table.constraints
            if isinstance(each, PrimaryKeyConstraint | UniqueConstraint) and len(each.columns)
        }
        for key in table.foreign_keys:
            assert key.parent.name in indexed, key
