"""Signed requests on a running SaveAny with two API processes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.stack import STORAGE, USER_ID, Stack, until_healthy
from tests.integration.api.signing import Signer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASKS = "/api/v1/tasks"
TASK = {"telegram_url": "https://t.me/channel/123", "user_id": USER_ID, "storage_name": STORAGE}
BODY = json.dumps(TASK).encode()


@dataclass(frozen=True)
class TwoProcesses:
    """A SaveAny with two API processes."""

    stack: Stack
    urls: list[str]
    signer: Signer

    async def send(self, headers: dict[str, str], body: bytes = BODY, process: int = 0) -> int:
        """The status of the reply to a request for a new task."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            headers = {"content-type": "application/json", **headers}
            reply = await http.post(self.urls[process] + TASKS, content=body, headers=headers)
        return reply.status_code

    def signed(self, age: int = 0) -> dict[str, str]:
        """The headers of a request that was signed so many seconds ago."""
        created = str(int(time.time()) - age)
        return self.signer.headers("POST", f"{self.stack.url}{TASKS}", BODY, created=created)

    async def tasks(self) -> int:
        return len((await self.stack.client.get(TASKS)).json()["tasks"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoProcesses]:
    folder = tmp_path_factory.mktemp("stack")
    async with Stack(folder, workers=0, tables={"api": {"signed": True}}) as stack:
        words = ("key", "add", "cron", "--user", str(USER_ID), "--scope", "tasks", "--readable", "--json")
        made = await stack.saveany(*words)
        assert made.code == 0, made.err
        key = json.loads(made.out)
        urls = [stack.url, await stack.start_another_api()]
        yield TwoProcesses(stack, urls, Signer(key["key_id"], key["secret"]))


async def test_valid_requests_are_accepted_and_others_are_not(two: TwoProcesses) -> None:
    headers, before = two.signed(), await two.tasks()
    assert await two.send(headers, b" " + BODY) == 401
    assert await two.send(two.signed(age=400)) == 401
    assert await two.send(headers) == 201
    assert await two.send(headers) == 401
    assert await two.send(headers, process=1) == 401
    assert await two.tasks() == before + 1


async def test_parallel_requests_are_all_accepted_if_they_are_distinct(two: TwoProcesses) -> None:
    before = await two.tasks()
    sent = (two.send(two.signed(), process=process) for process in [0, 1] * 25)
    assert set(await asyncio.gather(*sent)) == {201}
    assert await two.tasks() == before + 50


async def test_of_parallel_requests_with_one_nonce_one_is_accepted(two: TwoProcesses) -> None:
    headers, before = two.signed(), await two.tasks()
    sent = (two.send(headers, process=process) for process in [0, 1] * 25)
    assert sorted(await asyncio.gather(*sent)) == [201] + [401] * 49
    assert await two.tasks() == before + 1


async def test_a_nonce_stays_used_after_a_restart(two: TwoProcesses) -> None:
    headers = two.signed()
    assert await two.send(headers) == 201
    api = two.stack.api
    assert api
    await two.stack.kill(api)
    await two.stack.start_api()
    await until_healthy(two.stack.url)
    assert await two.send(headers) == 401
    assert await two.send(two.signed()) == 201


async def test_no_secret_is_logged(two: TwoProcesses) -> None:
    headers = two.signed()
    await two.send(headers, b"{}")
    logged = "".join(log.read_text() for log in two.stack.logs.glob("*.log"))
    assert "api_started" in logged
    for secret in (two.signer.secret, headers["signature"]):
        assert secret not in logged
