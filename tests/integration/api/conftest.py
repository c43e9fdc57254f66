"""The API on a real Valkey: in-process for requests, behind a real server for streams."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.api.server import ApiServer, bind
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Claim, Store
from tests.fixtures.waiting import until

TOKEN = "your-secret-token-here"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
USER = 123456789
LANES = ["tgfiles/local1", "tgfiles/local2"]
SEED_BODY: dict[str, Any] = {
    "telegram_url": "https://t.me/channel/123",
    "user_id": USER,
    "storage_name": "local1",
    "dir_path": "/downloads",
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def config(data_dir: Path, tmp_path: Path) -> Config:
    """Two users and three storages: the second user may use only the first of them. Uploaded files may have
    1 MB."""
    folders = [str(tmp_path / "files" / str(n)) for n in (1, 2, 3)]
    local = [{"name": f"local{n}", "type": "local", "base_path": path} for n, path in enumerate(folders, 1)]
    return Config.model_validate(
        {
            "data_dir": data_dir,
            "api": {"token": TOKEN},
            "uploads": {"max_mb": 1},
            "users": [{"id": USER}, {"id": 42, "storages": ["local1"]}],
            "storages": local,
        }
    )


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    return create_app(config, store, catalogue)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Requests with the token, without a network in between."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client:
        yield client


@pytest.fixture
async def server(app: FastAPI) -> AsyncIterator[ApiServer]:
    """The API behind its real server, at `url_of(server)`."""
    async with serving(app) as server:
        yield server


@asynccontextmanager
async def serving(app: FastAPI, most: int = 2048) -> AsyncIterator[ApiServer]:
    server = ApiServer(app, most)
    with bind("127.0.0.1", 0) as sock:
        running = asyncio.create_task(server.serve(sockets=[sock]))
        await until(_is_started(server))
        yield server
        if not server.should_exit:  # a second signal would leave out the end of the lifespan
            server.handle_exit(signal.SIGTERM, None)
        await running


@pytest.fixture
async def live(server: ApiServer) -> AsyncIterator[httpx.AsyncClient]:
    """Requests with the token, over TCP."""
    async with over_tcp(server) as client:
        yield client


def over_tcp(server: ApiServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url_of(server), headers=AUTH, timeout=20)


def _is_started(server: ApiServer) -> Callable[[], Awaitable[bool]]:
    async def started() -> bool:
        return server.started

    return started


def url_of(server: ApiServer) -> str:
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"


async def create(client: httpx.AsyncClient, **body: Any) -> str:
    """Post a task; returns its id."""
    reply = await client.post("/api/v1/tasks", json=SEED_BODY | body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["task_id"])


async def claim(store: Store) -> Claim:
    """Claim a task as a worker does."""
    claim = await store.claims.claim("w1", LANES)
    assert claim is not None
    return claim


def check_error(reply: httpx.Response, status: int) -> dict[str, Any]:
    """Check the form that every error has; returns the body."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body: dict[str, Any] = reply.json()
    assert set(body) <= {"error", "code", "message", "details"}
    assert body["code"] == status
    assert body["error"]
    assert body["message"]
    assert "Traceback" not in reply.text
    assert all(set(detail) == {"field", "message"} for detail in body.get("details", []))
    return body
