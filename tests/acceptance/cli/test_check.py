"""`saveany check`: every kind of problem, with its line and exit code."""

from __future__ import annotations

import base64
import json
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from saveany import checks
from saveany.config import Config
from saveany.sandbox import samples
from saveany.sandbox.handlers import config as handlers
from saveany.sandbox.world import Chat
from saveany.store import Db, Store
from storages.local.storage import LocalStorage
from tests.fixtures.stack import Result, Stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A configuration and a sandbox, without running roles."""
    async with Stack(tmp_path, roles=False) as stack:
        yield stack


def lines(result: Result) -> dict[str, tuple[str, str]]:
    """Status and detail by name."""
    assert "Traceback" not in result.out + result.err
    rows = (line.split(maxsplit=1) for line in result.out.splitlines())
    return {name: (status, detail) for status, rest in rows for name, detail in [rest.split(": ", 1)]}


async def check(stack: Stack, **tables: Any) -> tuple[int, dict[str, tuple[str, str]]]:
    stack.write_config(**tables)
    result = await stack.saveany("check")
    assert stack.sandbox.bot_token not in result.out + result.err
    return result.code, lines(result)


async def test_a_correct_installation_passes(stack: Stack) -> None:
    code, found = await check(stack)
    assert code == 0
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(
        [
            *("config", "api.token", "webhook", "api.port", "disk of data_dir", "disk of storage local1"),
            *("redis", "clock of redis", "catalogue", "storage local1", "telegram bot", "telegram user"),
            "clock of telegram",
        ],
        "ok",
    )
    assert "fsync always" in found["redis"][1]
    assert stack.files() == []


async def test_json_has_every_check(stack: Stack) -> None:
    for _ in range(2):
        result = await stack.saveany("check", "--json")
        found = json.loads(result.out)
        assert (result.code, found["ok"], set(found)) == (0, True, {"ok", "checks"})
        assert all(set(row) == {"name", "status", "detail"} for row in found["checks"])
        assert {"name": "telegram user", "status": "ok", "detail": "logged in"} in found["checks"]
    assert stack.sandbox.counters.requests(method="auth.importBotAuthorization") == 1  # the login is kept


async def test_json_reports_a_wrong_configuration(stack: Stack) -> None:
    stack.config_file.write_text("wrokers = 1\n[api]\nport = 'x'\n")
    result = await stack.saveany("check", "--json")
    assert result.code == 2
    found = json.loads(result.out)
    assert [row["status"] for row in found["checks"]] == ["failed", "failed"]
    assert not found["ok"]
    assert "did you mean workers" in found["checks"][0]["detail"]


async def test_a_wrong_configuration_is_reported(stack: Stack) -> None:
    stack.config_file.write_text("wrokers = 1\n")
    result = await stack.saveany("check")
    assert result.code == 2
    assert f"failed   config: {stack.config_file}:1: wrokers" in result.out


async def test_a_program_that_is_missing_is_a_warning(stack: Stack) -> None:
    code, found = await check(
        stack,
        ytdlp={"program": "no-such-ytdlp"},
        gallery={"enable": False, "program": "no-such-gallery"},
        aria2={"enable": True, "program": "no-such-aria2", "url": "http://127.0.0.1:6800/jsonrpc"},
    )
    assert code == 0
    warned = {name: detail for name, (status, detail) in found.items() if status == "warning"}
    assert list(warned) == ["task type ytdlp"]
    assert "no-such-ytdlp is not installed" in warned["task type ytdlp"]


async def test_warnings_do_not_change_the_exit_code(stack: Stack) -> None:
    weak = "whsec_" + base64.b64encode(b"0123" * 8).decode()
    code, found = await check(
        stack, threads=4, users=[], api={"host": "0.0.0.0", "token": "short", "webhook_secret": weak}
    )
    assert code == 0
    warned = {name: detail for name, (status, detail) in found.items() if status == "warning"}
    assert set(warned) == {"config", "users", "api.token", "webhook"}
    assert "threads" in warned["config"]


@pytest.mark.parametrize(
    ("url", "status"),
    [("http://example.com/", "warning"), ("http://127.0.0.1:9/", "ok"), ("https://example.com/", "ok")],
)
async def test_a_webhook_over_plain_http_is_a_warning(url: str, status: str) -> None:
    config = Config.model_validate({"api": {"enable": False, "webhook_url": url}})
    found = {each.name: each.status async for each in checks.configuration(config)}
    assert found["webhook"] == status


async def test_a_port_used_by_another_program_is_reported(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", stack.port)):
        code, found = await check(stack)
    assert code == 2
    assert found["api.port"][0] == "failed"
    assert "api.port" in found["api.port"][1]


async def test_a_port_used_by_saveany_is_recognized(tmp_path: Path) -> None:
    async with Stack(tmp_path / "one", workers=1) as one, Stack(tmp_path / "two", roles=False) as two:
        result = await one.saveany("check")
        assert lines(result)["api.port"] == ("ok", f"this SaveAny is running on {one.port}")
        code, found = await check(two, api={"port": one.port})
        assert code == 2
        assert found["api.port"] == (
            "failed",
            f"another SaveAny is using port {one.port}; stop it, or choose another port with --port or "
            "api.port",
        )
        # and what would only fail later says the same in one line
        for command in (["run"], ["api"]):
            result = await two.saveany(*command)
            assert (result.code, result.out) == (2, "")
            assert result.err.splitlines()[-1] == f"error: {found['api.port'][1]}"
        code, found = await check(two, api={"port": one.port}, redis={"url": "redis://127.0.0.1:1/0"})
        assert found["api.port"][0] == "warning"


async def test_a_chat_is_looked_up(stack: Stack) -> None:
    def tables(chat: str) -> list[dict[str, Any]]:
        return [{"name": "chat", "type": "telegram", "chat_id": chat}]

    members = {samples.BOT.id, samples.USER.id}
    stack.sandbox.world.add_chat(Chat(id=1600000005, title="In", username="inbox", members=members))
    code, found = await check(stack, storages=tables("@inbox"))
    assert (code, found["storage chat"][0]) == (0, "ok")
    code, found = await check(stack, storages=tables("@nobody_has_this_name"))
    assert (code, found["storage chat"][0]) == (4, "failed")
    assert "nobody_has_this_name" in found["storage chat"][1]
    code, found = await check(stack, storages=tables("@inbox"), redis={"url": "redis://127.0.0.1:1/0"})
    assert (code, found["storage chat"][0]) == (3, "warning")


async def test_storages_in_use_by_a_worker_are_tested(tmp_path: Path) -> None:
    async with Stack(tmp_path, workers=1) as stack:
        shutil.rmtree(stack.storage_dir)
        stack.storage_dir.write_text("in the way")
        result = await stack.saveany("check")
        assert result.code == 4
        assert lines(result)["storage local1"][0] == "failed"


async def test_an_address_that_is_none_is_refused(stack: Stack) -> None:
    stack.write_config(redis={"url": "redis://:hunter2@127.0.0.1:port/0"})
    result = await stack.saveany("check")
    assert result.code == 2
    assert "redis.url" in result.out + result.err
    assert "hunter2" not in result.out + result.err


async def test_an_unreachable_redis_is_reported(stack: Stack) -> None:
    code, found = await check(stack, redis={"url": "redis://:hunter2@127.0.0.1:1/0"})
    assert code == 3
    assert found["redis"][0] == "failed"
    assert found["storage local1"][0] == "ok"
    assert found["telegram"][0] == "warning"
    assert stack.sandbox.counters.requests() == 0
    assert "hunter2" not in str(found)


async def test_an_embedded_server_that_does_not_start_is_reported(stack: Stack) -> None:
    stack.data_dir.mkdir()
    (stack.data_dir / "redis").write_text("in the way")
    code, found = await check(stack)
    assert code == 3
    assert str(stack.data_dir / "redis") in found["redis"][1]
    assert found["storage local1"][0] == "ok"
    assert found["telegram"][0] == "warning"


async def test_a_redis_that_evicts_keys_is_reported(stack: Stack, db: Db, valkey_url: str) -> None:
    await db.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        code, found = await check(stack, redis={"url": valkey_url})
    finally:
        await db.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert code == 3
    assert "maxmemory-policy noeviction" in found["redis"][1]


async def test_a_redis_without_persistence_is_a_warning(stack: Stack, db: Db, valkey_url: str) -> None:
    code, found = await check(stack, redis={"url": valkey_url})
    assert code == 0
    assert found["redis"][0] == "warning"
    assert "appendonly yes" in found["redis"][1]


async def test_an_unmounted_disk_is_reported(stack: Stack, db: Db, valkey_url: str) -> None:
    await Store(db).workers.establish_storage("local1", "the mark of the disk")
    code, found = await check(stack, redis={"url": valkey_url})
    assert (code, found["storage local1"][0]) == (0, "warning")
    assert "not mounted" in found["storage local1"][1]
    assert not stack.storage_dir.exists(), "nothing is written at the mount point"


async def test_an_unwritable_storage_and_a_wrong_token_are_reported(stack: Stack) -> None:
    stack.storage_dir.write_text("not a folder")
    code, found = await check(stack, telegram={"token": "7:WRONG-token-of-another-bot-xxxxxxx"})
    assert code == 4  # before Telegram's
    assert found["storage local1"][0] == "failed"
    status, detail = found["telegram bot"]
    assert status == "failed"
    assert "@BotFather" in detail
    assert "WRONG" not in detail
    assert found["telegram user"][0] == "ok"


async def test_a_storage_with_a_bug_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(_: LocalStorage) -> None:
        raise ValueError("Invalid endpoint: swordfish")

    monkeypatch.setattr(LocalStorage, "probe", probe)
    tables = [{"name": "local1", "type": "local", "base_path": tmp_path}]
    (found,) = [each async for each in checks.storages(Config.model_validate({"storages": tables}))]
    assert (found.status, found.detail) == (
        "failed",
        "local: this is a bug in SaveAny, please report it: ValueError",
    )


async def test_a_revoked_login_is_reported(stack: Stack) -> None:
    stack.sandbox.faults.add("error=401:SESSION_REVOKED,method=users.getUsers,account=123456789")
    code, found = await check(stack)
    assert code == 5
    assert "login --phone --name user" in found["telegram user"][1]
    assert found["telegram bot"][0] == "ok"


async def test_missing_storages_and_accounts_are_reported(stack: Stack) -> None:
    code, found = await check(stack, storages=[], telegram={"token": "", "accounts": []})
    assert code == 4
    assert found["storages"][0] == "failed"
    assert found["telegram"][0] == "failed"
    assert "login" in found["telegram"][1]


@pytest.mark.parametrize(
    ("seconds", "status", "code", "word"), [(60, "warning", 0, "behind"), (-400, "failed", 6, "ahead of")]
)
async def test_a_wrong_clock_is_reported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, seconds: int, status: str, code: int, word: str
) -> None:
    class Elsewhere(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    monkeypatch.setattr(handlers, "datetime", Elsewhere)
    found = await check(stack)
    assert (found[0], found[1]["clock of telegram"][0]) == (code, status)
    assert f"s {word} Telegram's" in found[1]["clock of telegram"][1]
    assert found[1]["clock of redis"][0] == "ok"


@contextmanager
def free(monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(Path())
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
        yield


@pytest.mark.parametrize(
    ("size", "status"), [(2_000_000_000, "ok"), (500_000_000, "warning"), (50_000_000, "failed")]
)
def test_a_full_disk_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, status: str
) -> None:
    storage = {"name": "s", "type": "local", "base_path": str(tmp_path / "not" / "there" / "yet")}
    config = Config.model_validate({"data_dir": str(tmp_path), "storages": [storage]})
    with free(monkeypatch, size):
        found = list(checks.disks(config))
    assert [(each.name, each.status) for each in found] == [
        ("disk of data_dir", status),
        ("disk of storage s", status),
    ]
    assert all(str(tmp_path) in each.detail for each in found)
