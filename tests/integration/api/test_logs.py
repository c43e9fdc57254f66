"""The end of the log over HTTP."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from saveany import logs
from saveany.log_tail import VARIABLE, LogTail
from tests.integration.api.conftest import USER, check_error
from tests.integration.api.keys import with_key


async def test_lines_are_read_and_then_those_that_follow(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    tail = LogTail.open()
    assert tail
    monkeypatch.setattr(logs, "_tail", tail)
    for number in range(5):
        tail.write(f"line {number}")
    first = (await client.get("/api/v1/logs", params={"limit": 2})).json()
    assert first["lines"] == ["line 3", "line 4"]
    tail.write("later")
    later = (await client.get("/api/v1/logs", params={"after": first["position"]})).json()
    assert later["lines"] == ["later"]


async def test_only_the_operator_reads_the_log(app: FastAPI, client: httpx.AsyncClient) -> None:
    async with await with_key(app, client, USER, "tasks") as own:
        check_error(await own.get("/api/v1/logs"), 403)
