"""Saved files and links to them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import msgspec

from saveany.config import Config
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from tests.integration.api.conftest import TOKEN, USER, claim, create

DATA = bytes(range(256)) * 2000
PATH = "downloads/film.mp4"


def config_with(tmp_path: Path, links: dict[str, Any], **api: Any) -> Config:
    """A configuration with one storage, in `tmp_path / "files"`."""
    storage = {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")}
    return Config.model_validate(
        {
            "api": {"token": TOKEN, **api},
            "data_dir": str(tmp_path / "data"),
            "users": [{"id": USER}],
            "storages": [storage],
            "links": links,
        }
    )


async def save(live: httpx.AsyncClient, store: Store, folder: Path, data: bytes) -> str:
    """Save a file; returns its id."""
    (folder / "downloads").mkdir(parents=True)
    (folder / PATH).write_bytes(data)
    await create(live)
    claimed = await claim(store)
    digest = hashlib.sha256(data).hexdigest()
    item = Item(
        index=0, name="film.mp4", path=PATH, final=PATH, size=len(data), sha256=digest, storage="local1"
    )
    await claimed.plan("title", [item], Progress(), [])
    saved = msgspec.structs.replace(item, status=ItemStatus.COMPLETED)
    await claimed.finish(Status.COMPLETED, items=[saved])
    [file] = (await live.get("/api/v1/files")).json()["files"]
    return str(file["file_id"])


async def link(live: httpx.AsyncClient, file_id: str, **options: Any) -> dict[str, Any]:
    reply = await live.post("/api/v1/links", json={"file_id": file_id, "user_id": USER, **options})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made
