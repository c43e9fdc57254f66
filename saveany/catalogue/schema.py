"""The schema of the database: migrations when it is opened, and the id of an SQLite file.

Each migration in `migrations/versions` is named by a number, and all pending ones are one transaction under a
lock: one that is interrupted has changed nothing. A new database is created from `tables` instead, without
Alembic, which needs 8 MB of memory; a test compares both.
"""

from __future__ import annotations

from importlib.resources import files
from uuid import uuid4

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio.engine import AsyncConnection

from saveany.catalogue import tables
from saveany.catalogue.database import Database
from saveany.catalogue.folders import ROOT
from saveany.catalogue.search import index_statements
from saveany.errors import ConfigError
from saveany.logs import get_logger

#: The lock of PostgreSQL for migrations: any number that nothing else in the database uses.
_LOCK = 5_728_160_402

log = get_logger("saveany.catalogue")


def newest() -> str:
    """The schema that this version of SaveAny needs: the number of its newest migration."""
    names = (file.name for file in (files("saveany.catalogue") / "migrations" / "versions").iterdir())
    return max(name.partition("_")[0] for name in names if name[:4].isdigit())


async def migrate(database: Database) -> None:
    """Bring the schema up to date. Raises `ConfigError` if a newer SaveAny has written it."""
    async with database.connection() as connection:
        if await _version(connection) == newest():
            return
    async with database.transaction() as connection:
        if not database.is_sqlite:  # the write transaction of SQLite excludes all others
            await connection.execute(sql(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        found = await _version(connection)
        if found == newest():
            return
        if found > newest():
            raise ConfigError(
                "catalogue: this database was written by a newer SaveAny (schema {found}, this one knows "
                "{known}); upgrade this installation",
                found=found,
                known=newest(),
            )
        await connection.run_sync(_upgrade if found else _create)
    log.info("catalogue_migrated", before=found or "new", now=newest())


async def _version(connection: AsyncConnection) -> str:
    """The number of the newest migration that was run; "" for a new database."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return ""
    return await connection.scalar(sql("SELECT version_num FROM alembic_version")) or ""


def _create(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    for table in tables.SEARCHED:
        for statement in index_statements(table, is_sqlite=connection.dialect.name == "sqlite"):
            connection.exec_driver_sql(statement)
    connection.execute(insert(tables.folders).values(id=ROOT, user_id=0, parent_id=ROOT, name=""))
    connection.execute(insert(tables.catalogue).values(id=uuid4().hex, turn=0))
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute(sql("INSERT INTO alembic_version VALUES (:newest)"), {"newest": newest()})


def _upgrade(connection: Connection) -> None:
    """Run the pending migrations."""
    from alembic import command  # only a change of the schema needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("saveany.catalogue") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def describe(database: Database) -> tuple[str, int]:
    """The number of the newest migration, "" for a new database, and the size in bytes. Changes nothing."""
    async with database.connection() as connection:
        version = await _version(connection)
        size = "pg_database_size(current_database())"
        if database.is_sqlite:
            size = "page_count * page_size FROM pragma_page_count, pragma_page_size"
        return version, int(await connection.scalar(sql(f"SELECT {size}")) or 0)


async def identity(database: Database) -> str:
    """The random id of this database."""
    async with database.connection() as connection:
        return str(await connection.scalar(select(tables.catalogue.c.id)))
