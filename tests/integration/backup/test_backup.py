"""Backups of an installation, and what comes back from them."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from sqlalchemy import Connection, MetaData, select

from saveany.backup.make import make_backup
from saveany.backup.restore import configuration, restore_backup
from saveany.catalogue import FileFilter, HistoryFilter, copies, schema
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.database import Database
from saveany.catalogue.tables import SEARCHED
from saveany.config import Config, load
from saveany.embedded import EmbeddedRedis
from saveany.errors import ConfigError, SaveAnyError
from saveany.models import Status
from saveany.store import Store, open_store, snapshot
from saveany.telegram.session import Login, SessionFolder
from tests.fixtures.catalogue import Postgres, postgres_database
from tests.integration.catalogue.test_recording import item, planned
from tests.integration.store.test_lifecycle import accept

LOGIN = Login(2, "127.0.0.1", 443, b"k" * 256)


@dataclass
class Place:
    """An installation of which only the data are needed."""

    config: Config

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Store, Catalogue]]:
        server = EmbeddedRedis(self.config.data_dir) if self.config.redis.url == "embedded" else None
        store = await open_store(server.start() if server else self.config.redis.url)
        catalogue = Catalogue.of(self.config, store)
        try:
            yield store, catalogue
        finally:
            await catalogue.close()
            await store.db.close()
            if server:
                server.stop()

    async def back_up(self, file: Path, **options: bool) -> None:
        async with self.opened() as (store, _):
            await make_backup(self.config, store, file, **options)

    async def content(self) -> tuple[list[str], list[str], list[bytes]]:
        """Ended tasks, names of files, and live tasks."""
        async with self.opened() as (store, catalogue):
            page = await catalogue.history.page(HistoryFilter())
            files = await catalogue.files.page(FileFilter())
            live = await store.db.do("ZRANGE", "sa:queued", 0, -1)
            return [task.id for task in page.tasks], [file.name for file in files.files], live

    async def fill(self) -> None:
        """Save a file, and leave a task in the queue."""
        async with self.opened() as (store, catalogue):
            claimed = await planned(store, item(0))
            await claimed.finish(Status.COMPLETED, items=[item(0)])
            await catalogue.recorder.catch_up()
            await accept(store)


def place(folder: Path, **tables: Any) -> Place:
    folder.mkdir(exist_ok=True)
    file = folder / "config.toml"
    base = {
        "data_dir": "data",
        "telegram": {"token": "12345:abcdefghijklmnopqrstuvwxyz-123456789"},
        "storages": [{"name": "local1", "type": "local", "base_path": "files"}],
    }
    file.write_text(tomli_w.dumps(base | tables))
    return Place(load(file, {}))


@pytest.fixture(params=["sqlite", "postgresql"])
async def urls(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], dict[str, Any]]]:
    """Makes the table `catalogue` of a configuration with an empty database."""
    if request.param == "sqlite":
        yield dict
        return
    server: Postgres = request.getfixturevalue("postgres")
    async with postgres_database(server) as first, postgres_database(server) as second:
        found = iter((first, second))
        yield lambda: {"catalogue": {"url": next(found)}}


async def test_everything_comes_back_elsewhere(urls: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    here, file = place(tmp_path / "here", **urls()), tmp_path / "backup.tar"
    await here.fill()
    before = await here.content()
    await here.back_up(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "here"]

    there = place(tmp_path / "there", **urls())
    await restore_backup(there.config, file)
    assert await there.content() == before
    assert [path.name for path in there.config.data_dir.glob(".*")] == []
    await there.fill()
    assert len((await there.content())[1]) == 2


async def test_a_backup_brings_back_what_was_deleted_since(tmp_path: Path) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    before = await here.content()
    await here.back_up(file)
    async with here.opened() as (store, catalogue):
        await catalogue.history.clear()
        await store.db.do("FLUSHALL")
        await store.recording.establish_catalogue("0" * 32)
    with pytest.raises(SaveAnyError, match=r"not empty \(redis, catalogue\); --overwrite"):
        await restore_backup(here.config, file)
    await restore_backup(here.config, file, overwrite=True)
    assert await here.content() == before
    await restore_backup(here.config, file, overwrite=True)
    assert await here.content() == before


@contextmanager
def _oldest_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program is that of the first schema, in this block."""
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_create", schema._upgrade)
        patch.setattr(schema, "newest", lambda: "0001")
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        yield


async def _replace_schema(here: Place) -> None:
    """Make the database again, and copy the rows with all columns that the schema of now has."""
    database = Database(here.config.catalogue.url, here.config.data_dir)
    try:
        async with database.transaction() as connection:
            rows = await connection.run_sync(_take_rows)
        await schema.migrate(database)
        async with database.transaction() as connection:
            await connection.run_sync(_put_rows, rows)
    finally:
        await database.close()


def _tables(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection, only=lambda name, _: "_search" not in name)
    return found


def _take_rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables, which are removed."""
    found = _tables(connection)
    rows = {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in found.sorted_tables
    }
    if connection.dialect.name == "sqlite":
        for table in SEARCHED:
            connection.exec_driver_sql(f"DROP TABLE {table}_search")
    found.drop_all(connection)
    del rows["alembic_version"]
    return rows


def _put_rows(connection: Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    found = _tables(connection)
    for table in reversed(found.sorted_tables):
        if table.name in rows:
            connection.execute(table.delete())
    for table in found.sorted_tables:
        for row in rows.get(table.name, ()):
            known = {column.name: row[column.name] for column in table.columns}
            connection.execute(table.insert().values(known))


async def test_an_older_backup_is_migrated(
    urls: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, file = place(tmp_path / "here", **urls()), tmp_path / "backup.tar"
    await here.fill()
    with _oldest_schema(monkeypatch):
        await _replace_schema(here)
        await here.back_up(file)
    with tarfile.open(file) as tar:
        manifest = json.load(tar.extractfile("manifest.json") or pytest.fail("no manifest"))
    assert manifest["schema"] == "0001"
    there = place(tmp_path / "there", **urls())
    await restore_backup(there.config, file)
    ended, files, live = await there.content()
    assert (len(ended), files, len(live)) == (1, ["file0.mp4"], 1)
    async with there.opened() as (_, catalogue), catalogue._database.read() as connection:
        assert await schema._version(connection) == schema.newest()


async def test_an_external_redis_gets_only_what_is_ours(valkey_url: str, tmp_path: Path) -> None:
    here = place(tmp_path / "here", redis={"url": f"{valkey_url}?db=3"})
    file = tmp_path / "backup.tar"
    async with here.opened() as (store, _):
        await store.db.do("FLUSHALL")
        await store.db.do("SET", "other", "program")
    await here.fill()
    async with here.opened() as (store, _):
        await store.db.do("SET", "sa:lock:x", "1", "PX", 100_000)
    before = await here.content()
    await here.back_up(file)
    there = place(tmp_path / "there")
    await restore_backup(there.config, file)
    assert await there.content() == before

    back = place(tmp_path / "back", redis={"url": f"{valkey_url}?db=5"})
    await restore_backup(back.config, file)
    assert await back.content() == before
    async with back.opened() as (store, _):
        assert await store.db.do("EXISTS", "other") == 0
        assert 0 < await store.db.do("PTTL", "sa:lock:x") <= 100_000
        await store.db.do("SET", "sa:card:later", "1")
    with pytest.raises(SaveAnyError, match=r"not empty \(redis, catalogue\)"):
        await restore_backup(back.config, file)
    await restore_backup(back.config, file, overwrite=True)
    async with back.opened() as (store, _):
        assert await store.db.do("EXISTS", "sa:card:later") == 0


async def test_a_server_that_gives_no_snapshot_is_reported(valkey_url: str, tmp_path: Path) -> None:
    async with place(tmp_path / "admin", redis={"url": valkey_url}).opened() as (admin, _):
        await admin.db.do("FLUSHALL")
        await admin.db.do("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-sync")
        here = place(tmp_path / "here", redis={"url": valkey_url.replace("unix://", "unix://app:secret@")})
        await here.fill()
        with pytest.raises(SaveAnyError, match=r"gives no snapshot: .*sync.*right to use SYNC"):
            await here.back_up(tmp_path / "backup.tar")
        await admin.db.do("ACL", "DELUSER", "app")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin", "here"]


async def test_what_is_recorded_meanwhile_is_in_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    download = snapshot.download

    async def end_a_task_before(*args: Any) -> None:
        assert await end_another()
        await download(*args)

    async def end_another() -> bool:
        claimed = await store.claims.claim("w", ["tgfiles/local1"])
        assert claimed is not None
        await claimed.finish(Status.CANCELED)
        return not await catalogue.recorder.record()  # another has the lock

    monkeypatch.setattr("saveany.store.recording._LOCK_MS", 60_000)
    monkeypatch.setattr(snapshot, "download", end_a_task_before)
    async with here.opened() as (store, catalogue):
        await make_backup(here.config, store, file)
        before = await catalogue.history.page(HistoryFilter())
    there = place(tmp_path / "there")
    await restore_backup(there.config, file)
    ended, _, live = await there.content()
    assert sorted(ended + [each.decode() for each in live]) == sorted(task.id for task in before.tasks)


async def test_logins_are_in_a_backup_only_on_request(tmp_path: Path) -> None:
    session = "1" + "A" * 350 + "="
    here = place(
        tmp_path / "here",
        telegram={"token": "12345:abcdefghijklmnopqrstuvwxyz-123456789", "sessions": [session]},
    )
    SessionFolder(here.config.data_dir).save("me", LOGIN)
    name = SessionFolder(here.config.data_dir).machine()
    await here.fill()
    without, full = tmp_path / "without.tar", tmp_path / "full.tar"
    await here.back_up(without)
    await here.back_up(full, logins=True)
    assert (b"kkk" in without.read_bytes(), session.encode() in without.read_bytes()) == (False, False)
    assert session in (configuration(full) or "")
    (tmp_path / "without.toml").write_text(configuration(without) or "")
    assert load(tmp_path / "without.toml", {}).telegram.user_accounts

    there = place(tmp_path / "there")
    await restore_backup(there.config, without)
    assert SessionFolder(there.config.data_dir).names() == []
    await restore_backup(there.config, full, overwrite=True)
    restored = SessionFolder(there.config.data_dir)
    assert (restored.load("me"), restored.machine()) == (LOGIN, name)
    assert (there.config.data_dir / "sessions" / "me.session").stat().st_mode & 0o077 == 0


async def test_a_restore_needs_everything_stopped(tmp_path: Path) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    await here.back_up(file)
    async with here.opened():
        with pytest.raises(SaveAnyError, match="SaveAny is running"):
            await restore_backup(here.config, file, overwrite=True)


async def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    file.write_text("precious")
    with pytest.raises(SaveAnyError, match="exists; --overwrite"):
        await here.back_up(file)
    assert file.read_text() == "precious"
    await here.back_up(file, overwrite=True)
    assert file.stat().st_size > 1000


async def test_without_a_catalogue_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    here = place(tmp_path / "here")
    with pytest.raises(SaveAnyError, match="nothing to back up"):
        await here.back_up(tmp_path / "backup.tar")
    assert not (tmp_path / "backup.tar").exists()


async def test_any_damage_is_noticed_before_anything_changes(tmp_path: Path) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    before = await here.content()
    await here.back_up(file)
    whole = file.read_bytes()
    end = whole.rindex(b"manifest.json")
    damaged = [whole[:size] for size in (0, 100, len(whole) // 2, end, end + 600)]
    damaged.append(whole.replace(b"SQLite format 3\0", b"SQLite format 4\0"))
    damaged.append(whole.replace(b'"catalogue.db"', b'"../atalogue.d"'))
    damaged.append(whole.replace(b'"format": 1', b'"format": x'))
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(SaveAnyError, match="not a complete backup"):
            await restore_backup(here.config, file, overwrite=True)
    assert await here.content() == before
    with pytest.raises(SaveAnyError, match="there is no file"):
        await restore_backup(here.config, tmp_path / "nothing.tar")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"format": 1', b'"format": 2', "does not know; upgrade"),
        (b'"schema": "0', b'"schema": "9', "catalogue .schema 9.* does not know; upgrade"),
    ],
)
async def test_a_backup_of_a_newer_version_is_refused(
    old: bytes, new: bytes, reason: str, tmp_path: Path
) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    await here.back_up(file)
    file.write_bytes(file.read_bytes().replace(old, new))
    with pytest.raises(ConfigError, match=reason):
        await restore_backup(here.config, file, overwrite=True)


async def test_the_other_kind_of_database_is_refused(tmp_path: Path) -> None:
    here, file = place(tmp_path / "here"), tmp_path / "backup.tar"
    await here.fill()
    await here.back_up(file)
    there = place(tmp_path / "there", catalogue={"url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with pytest.raises(ConfigError, match=r"contains an SQLite catalogue; remove catalogue\.url"):
        await restore_backup(there.config, file)


async def test_a_snapshot_of_sqlite_is_one_state(tmp_path: Path) -> None:
    here = place(tmp_path / "here")
    await here.fill()
    async with copies.sqlite_snapshot(here.config.data_dir) as present:
        assert present is not None
        await here.fill()
        await present.save(tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "here"]
