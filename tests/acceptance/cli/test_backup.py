"""`saveany backup`, `restore`, `catalogue scan` and `catalogue check`, on an installation that works."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.fixtures.servers import answers
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until


async def done(stack: Stack, *words: str, code: int = 0) -> str:
    """What a command prints."""
    result = await stack.saveany(*words)
    assert (result.code, "Traceback" in result.err) == (code, False), result.err
    return result.out + result.err


async def test_a_lost_installation_comes_back(tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    async with Stack(tmp_path / "site") as stack:
        task = await stack.add("https://t.me/channel/123", dir_path="in")
        await stack.ended(task["task_id"])
        assert "backup.tar: " in await done(stack, "backup", str(backup))
        assert "exists; --overwrite" in await done(stack, "backup", str(backup), code=1)
        assert "SaveAny is running" in await done(stack, "restore", str(backup), code=1)
        await stack.stop()
        stack.redis.stop()
        shutil.rmtree(stack.data_dir)
        config = stack.config_file.read_text()
        stack.config_file.unlink()

        assert "Restored the backup of 2" in await done(stack, "restore", str(backup))
        assert stack.config_file.read_text() == config.replace(
            stack.sandbox.user_session, "not-in-this-backup"
        )
        assert stack.config_file.stat().st_mode & 0o777 == 0o600
        stack.config_file.write_text(config)
        assert "not empty (redis, catalogue); --overwrite" in await done(
            stack, "restore", str(backup), code=1
        )
        stack.redis_url = stack.redis.start()
        await stack.start_api()
        await until(partial(answers, stack.port))
        files = (await stack.client.get("/api/v1/files")).json()["files"]
        assert [file["task_id"] for file in files] == [task["task_id"]]


async def test_the_catalogue_is_compared_with_the_storage(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        task = await stack.add("https://t.me/channel/123", dir_path="in")
        (item,) = (await stack.ended(task["task_id"]))["items"]
        (stack.storage_dir / "old").mkdir()
        (stack.storage_dir / "old" / "film.mkv").write_bytes(b"film")
        scanned = json.loads(await done(stack, "catalogue", "scan", "local1", "--hash", "--json"))
        assert scanned == {"added": 1, "known": 1, "hashed": 1}
        assert await done(stack, "catalogue", "scan", "local1", "/old/") == "0 files added, 1 known before\n"
        assert await done(stack, "catalogue", "check") == ""
        shutil.rmtree(stack.storage_dir / "old")
        (stack.storage_dir / item["path"]).write_bytes(b"x")
        found = await done(stack, "catalogue", "check", "local1", code=1)
        assert f"local1: {item['path']}: 1 bytes instead of {item['size']}\n" in found
        assert "local1: old/film.mkv: missing\n" in found
        rows = json.loads(await done(stack, "catalogue", "check", "--json", code=1))
        assert {row["path"]: row["found"] for row in rows} == {item["path"]: 1, "old/film.mkv": None}
        assert "no storage 'other'" in await done(stack, "catalogue", "scan", "other", code=2)


async def test_check_describes_the_catalogue(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        task = await stack.add("https://t.me/channel/123")
        await stack.ended(task["task_id"])
        assert "SQLite, schema 0" in await done(stack, "check")
        await stack.stop()
        with closing(sqlite3.connect(stack.data_dir / "catalogue.db")) as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
            database.commit()
        result = await stack.saveany("check")
        assert result.code == 7
        assert "a newer SaveAny has written it" in result.out
