"""Backups over the API: they can be restored, only the operator gets one, and nothing stays behind."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import tomli_w
from fastapi import FastAPI

from saveany.api.server import ApiServer
from saveany.backup.restore import restore_backup
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config, load
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, USER, check_error, create, over_tcp
from tests.integration.api.keys import with_key

URL = "/api/v1/backup"
SESSION = "1" + "k" * 300


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration in a file, with the session string of an account."""
    file = tmp_path / "config.toml"
    storage = {"name": "local1", "type": "local", "base_path": "files"}
    account = {"name": "me", "session": SESSION}
    table = {"data_dir": "data", "api": {"token": TOKEN}, "users": [{"id": USER}], "storages": [storage]}
    file.write_text(tomli_w.dumps(table | {"telegram": {"accounts": [account]}}))
    return load(file, {})


@pytest.fixture(autouse=True)
async def used(catalogue: Catalogue) -> None:
    """The catalogue is created when it is first used."""
    await catalogue.history.get_many([])


@pytest.fixture
def login(data_dir: Path) -> Path:
    """A login of an account, as large as nobody reads at once."""
    (data_dir / "sessions").mkdir(parents=True, exist_ok=True)
    file = data_dir / "sessions/me.session"
    file.write_bytes(os.urandom(16 << 20))
    return file


async def test_a_backup_is_restored_elsewhere(
    client: httpx.AsyncClient, login: Path, data_dir: Path, tmp_path: Path
) -> None:
    task_id = await create(client)
    before = sorted(data_dir.iterdir())
    reply = await client.post(URL, json={})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-tar"), reply.text
    assert reply.headers["content-disposition"].startswith('attachment; filename="saveany-20')
    assert reply.headers["cache-control"] == "no-store"
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert sorted(data_dir.iterdir()) == before
    assert TOKEN.encode() in reply.content
    assert SESSION.encode() not in reply.content
    assert login.read_bytes() not in reply.content

    whole = await client.post(URL, json={"logins": True})
    assert login.read_bytes() in whole.content
    assert SESSION.encode() in whole.content

    file, there = tmp_path / "backup.tar", tmp_path / "there"
    file.write_bytes(reply.content)
    there.mkdir()
    storage = {"name": "local1", "type": "local", "base_path": "files"}
    (there / "config.toml").write_text(tomli_w.dumps({"data_dir": "data", "storages": [storage]}))
    await restore_backup(load(there / "config.toml", {}), file)
    restored = [each for each in (there / "data").rglob("*") if each.is_file()]
    assert any(task_id.encode() in each.read_bytes() for each in restored)


async def test_only_the_operator_gets_one(app: FastAPI, client: httpx.AsyncClient) -> None:
    key = await with_key(app, client, USER, "tasks", "files", "links", "read")
    check_error(await key.post(URL, json={}), 403)
    check_error(await client.post(URL, json={"login": True}), 400)
    check_error(await client.post(URL, content=b"logins=true"), 415)


async def test_nothing_is_left_when_the_client_goes_away(
    server: ApiServer, login: Path, data_dir: Path
) -> None:
    assert login.exists()
    before = sorted(data_dir.iterdir())
    async with over_tcp(server) as client, client.stream("POST", URL, json={"logins": True}) as reply:
        assert reply.status_code == 200
        async for _ in reply.aiter_raw():
            break
        assert _backups()

    await until(lambda: not _backups(), within=30)
    assert sorted(data_dir.iterdir()) == before


def _backups() -> list[str]:
    """The backups that are open, although they have no name."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it may be closed by now
            found.append(str(descriptor.readlink()))
    return [name for name in found if "/.backup-" in name]


async def test_the_reason_is_told_if_none_can_be_made(
    client: httpx.AsyncClient, config: Config, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(data_dir.iterdir()) if data_dir.exists() else []

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saveany.backup.archive.os.fsync", full)
    body = check_error(await client.post(URL, json={}), 503)
    assert "No space left on device" in body["message"]
    assert config.api.token.get_secret_value() not in body["message"]
    assert not [each for each in data_dir.iterdir() if each not in before and each.name.startswith(".")]
