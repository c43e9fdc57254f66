"""Requests to the API go before the files that it decrypts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from fastapi import FastAPI

from saveany.api import app as api
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.foreground import Foreground
from saveany.store import Store

HOUR = 3600.0


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """One where files wait for requests for as long as these take."""
    monkeypatch.setattr(api, "Foreground", partial(Foreground, HOUR, HOUR))
    return api.create_app(config, store, catalogue)


async def test_a_file_waits_for_a_request(app: FastAPI, client: httpx.AsyncClient) -> None:
    begun, rest = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        begun.set()
        await rest.wait()
        yield b"}"

    json = {"content-type": "application/json"}
    request = asyncio.create_task(client.post("/api/v1/tasks", content=body(), headers=json))
    await begun.wait()
    turn = asyncio.create_task(app.state.services.foreground.turn())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not turn.done()
    rest.set()
    assert (await request).status_code == 400
    await asyncio.wait_for(turn, 10)
