"""A Redis that refuses commands is an outage for every caller, and no secret appears in an error or log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import structlog
from redis.asyncio import Redis

from saveany import logs
from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import StoreDamaged, StoreUnavailable
from saveany.models import Delivery, Status
from saveany.store import Db, Store, connect
from saveany.store.refusals import REASONS, CommandRefused, Parser
from tests.fixtures.refusals import REFUSALS, administrator
from tests.fixtures.waiting import until
from tests.integration.api.conftest import AUTH, LANES, config, data_dir
from tests.integration.store.test_lifecycle import accept
from tests.integration.store.test_lifecycle import claim as claimed

__all__ = ["config", "data_dir"]

CANARY = "canary-b7c1e2"
BODY: dict[str, Any] = {
    "type": "directlinks",
    "params": {"urls": ["https://example.com/f.bin"], "headers": {"Authorization": f"Bearer {CANARY}"}},
    "webhook": f"https://example.com/{CANARY}?token={CANARY}",
}


@pytest.fixture
async def admin(valkey_url: str) -> AsyncIterator[Redis]:
    async with administrator(valkey_url) as admin:
        yield admin


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Everything that is logged, including debug lines."""
    root = logging.getLogger()
    level = root.level
    logs.setup("debug", "json")
    yield capsys
    root.handlers.clear()  # pytest adds its own before each step
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def client(config: Config, store: Store, catalogue: Catalogue) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(config, store, catalogue)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client:
        yield client


def logged_text(log: pytest.CaptureFixture[str]) -> str:
    out, err = log.readouterr()
    return out + err


@pytest.mark.parametrize("code", REFUSALS)
async def test_the_api_replies_503_and_continues_afterwards(
    code: str, client: httpx.AsyncClient, admin: Redis, log: pytest.CaptureFixture[str]
) -> None:
    task_id = (await client.post("/api/v1/tasks", json=BODY)).json()["task_id"]
    said = []
    async with REFUSALS[code](admin):
        for method, path in [
            ("POST", "/api/v1/tasks"),
            ("POST", f"/api/v1/tasks/{task_id}/pause"),
            ("POST", "/api/v1/queue/pause"),
            ("DELETE", f"/api/v1/tasks/{task_id}"),
        ]:
            reply = await client.request(method, path, json=BODY if path.endswith("tasks") else None)
            # a full memory has room for what makes room
            assert reply.status_code == 503 or (code, method) == ("OOM", "DELETE"), reply.text
            said.append(reply.text)
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        for path in ("/api/v1/tasks", "/api/v1/history", f"/api/v1/tasks/{task_id}", "/metrics"):
            assert (await client.get(path)).status_code in (200, 503)
    assert "(Redis)" in said[0]
    assert "redis" in [detail["field"] for detail in ready.json()["details"]]
    logged = logged_text(log)
    assert "request_failed" in logged
    assert CANARY not in "".join(said) + ready.text + logged
    assert (await client.post("/api/v1/tasks", json=BODY)).status_code == 201


@pytest.mark.parametrize("code", REFUSALS)
async def test_every_part_of_the_store_raises_store_unavailable(
    code: str, store: Store, admin: Redis
) -> None:
    """The text names the problem and contains none of the data."""
    async with REFUSALS[code](admin):
        url = f"https://example.com/{CANARY}"
        delivery = Delivery(id=CANARY, task_id="t", event="task.failed", url=url, body=CANARY)
        for call in (
            store.claims.claim("w1", LANES),
            store.claims.reconcile(check_leases=True),
            store.outbox.settle(delivery, "gave_up", 500, CANARY),
            store.tasks.cancel("nothing", [delivery]),
            store.settings.pause(),
            store.bot.receive({"1/1": CANARY.encode()}, CANARY.encode()),
            store.bot.keep_card("token", CANARY.encode()),
            store.counters.flush(),
            store.db.check_writable(),
        ):
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, StoreUnavailable)
                assert CANARY not in "".join(map(str, (outcome, outcome.__cause__, outcome.__context__)))


async def test_a_server_that_refuses_commands_at_the_start_is_waited_for(
    valkey_url: str, admin: Redis
) -> None:
    """It is not a configuration error: `open_store` tries again after `StoreUnavailable`."""
    for code in set(REFUSALS) - {"NOAUTH"}:
        await admin.flushall()
        db = connect(valkey_url)
        async with REFUSALS[code](admin):
            with pytest.raises(StoreUnavailable):
                await db.check()
        await db.check()
        await db.close()


async def test_a_connection_with_an_unread_reply_is_not_used(db: Db) -> None:
    """It would be taken for the reply to the next command."""
    pool = db.redis.connection_pool
    connection = await pool.get_connection()
    await connection.send_command("ECHO", "unread")
    await until(lambda: connection._reader._buffer)
    await pool.release(connection)
    assert await db.do("ECHO", "next") == b"next"
    assert await pool.get_connection() is connection, "another connection was used"


@pytest.mark.parametrize("code", REASONS)
def test_each_error_code_is_recognized_alone_and_from_a_script_of_redis_6(code: str) -> None:
    alone = Parser.parse_error(f"{code} anything at all, {CANARY}")
    within = Parser.parse_error(f"ERR Error running script (call to f_1): @user_script:7: -{code} {CANARY}")
    for error in (alone, within):
        assert isinstance(error, CommandRefused)
        assert str(error) == REASONS[code]


@pytest.mark.parametrize(
    "words",
    [
        "ACL failure in script: User x has no permissions to run the 'get' command",
        "The user executing the script can't run this command or subcommand",
    ],
)
def test_missing_permissions_of_a_script_are_recognized_in_all_versions(words: str) -> None:
    error = Parser.parse_error(f"ERR {words}, {CANARY}")
    assert isinstance(error, CommandRefused)
    assert str(error) == REASONS["NOPERM"]


def test_quoted_commands_are_removed_from_errors() -> None:
    quoted = Parser.parse_error(f"ERR unknown command 'EVALSHA', with args beginning with: '1' '{CANARY}'")
    assert not isinstance(quoted, CommandRefused)
    assert str(quoted) == "unknown command 'EVALSHA'"


async def test_no_error_of_a_pipeline_quotes_its_commands(store: Store) -> None:
    await store.db.do("SET", "text", "no list")
    for together in (False, True):
        with pytest.raises(StoreDamaged, match="WRONGTYPE") as caught:
            await store.db.many([("RPUSH", "text", CANARY), ("PING",)], together=together)
        assert CANARY not in str((caught.value, caught.value.__cause__))


async def test_a_waiting_task_continues_when_redis_works_again(store: Store, admin: Redis) -> None:
    """Writes of a claim wait, so no running task is lost."""
    await accept(store)
    claim = await claimed(store)
    for refusal in REFUSALS.values():
        async with refusal(admin):
            renewing = asyncio.create_task(claim.renew())
            await asyncio.sleep(0)
        await asyncio.wait_for(renewing, 30)
    await claim.finish(Status.COMPLETED)
