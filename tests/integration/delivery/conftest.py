"""The API with a storage and with accounts at a sandbox data center."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from saveany.config import Config
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.sandbox import Sandbox
from saveany.store import Store
from tests.integration.api.conftest import (  # noqa: F401  fixtures
    TOKEN,
    USER,
    app,
    claim,
    create,
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
    return await link_to(live, telegram_url=telegram_url, **options)


async def save(
    live: httpx.AsyncClient,  # noqa: F811
    store: Store,
    folder: Path,
    files: Mapping[str, bytes],
    source: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Save files, by path, in one task, in a storage that is at `folder`; `source` is where they come from.
    Returns their ids by name."""
    items: list[Item] = []
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        name = path.rpartition("/")[2]
        place: dict[str, Any] = {"path": path, "final": path, "storage": "local1"}
        items.append(Item(index=len(items), name=name, size=len(data), source=source or {}, **place))
    await create(live)
    claimed = await claim(store)
    await claimed.plan("title", items, Progress(), [])
    saved = [msgspec.structs.replace(item, status=ItemStatus.COMPLETED) for item in items]
    await claimed.finish(Status.COMPLETED, items=saved)
    found = (await live.get("/api/v1/files")).json()["files"]
    return {each["name"]: each["file_id"] for each in found}


async def link_to(live: httpx.AsyncClient, **body: Any) -> dict[str, Any]:  # noqa: F811
    """Make a link."""
    reply = await live.post("/api/v1/links", json={"user_id": USER, **body})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made
