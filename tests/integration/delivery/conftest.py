"""The API with a storage and with accounts at a sandbox data center."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.config import Config
from saveany.sandbox import Sandbox
from tests.integration.api.conftest import (  # noqa: F401  fixtures
    TOKEN,
    USER,
    app,
    live,
    server,
)
from tests.integration.telegram.conftest import rsa_key, sandbox, table  # noqa: F401  fixtures


@pytest.fixture
def accounts() -> dict[str, bool]:
    """Which accounts of the sandbox are configured; tests may ask for others."""
    return {"bot": True, "user": True}


@pytest.fixture
def config(tmp_path: Path, sandbox: Sandbox, accounts: dict[str, bool]) -> Config:  # noqa: F811
    storage = {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")}
    return Config.model_validate(
        {
            "api": {"token": TOKEN},
            "data_dir": str(tmp_path / "data"),
            "users": [{"id": USER}],
            "storages": [storage],
            "telegram": table(sandbox, **accounts).model_dump(),
        }
    )


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token, such as a browser."""
    async with httpx.AsyncClient(timeout=30) as client:
        yield client


async def link(live: httpx.AsyncClient, telegram_url: str, **options: Any) -> dict[str, Any]:  # noqa: F811
    """Make a link to the file of a message."""
    body = {"telegram_url": telegram_url, "user_id": USER, **options}
    reply = await live.post("/api/v1/links", json=body)
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made
