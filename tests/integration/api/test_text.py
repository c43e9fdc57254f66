"""Strings with lone surrogates, which JSON can express and UTF-8 cannot."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import check_error

HALF = "\ud800"
TYPED: dict[str, Any] = {
    "type": "tgfiles",
    "storage": "local1",
    "params": {"message_links": ["https://t.me/channel/123"]},
}
LINKS = {"type": "directlinks", "storage": "local1"}
URL = "https://example.com/a"


@pytest.mark.parametrize(
    "body",
    [
        TYPED | {"params": {"message_links": ["https://t.me/channel/123" + HALF]}},
        TYPED | {"params": {"message_links": ["https://t.me/channel/123"], HALF: 1}},
        TYPED | {"params": {"message_links": ["https://t.me/channel/123"], "x": [{"y": HALF}]}},
        TYPED | {"path": HALF},
        TYPED | {"filename": HALF},
        TYPED | {"storage": HALF},
        TYPED | {"webhook": f"https://example.com/{HALF}"},
        LINKS | {"params": {"urls": [URL], "headers": {"X": HALF}}},
        LINKS | {"params": {"urls": [URL], "headers": {HALF: "x"}}},
        LINKS | {"params": {"urls": [URL], "cookies": {HALF: HALF}}},
        LINKS | {"params": {"urls": [URL + HALF]}},
        {"type": "transfer", "storage": "local1", "params": {"source": "local1", "source_path": HALF}},
        {"type": HALF, "params": {}},
        {HALF: 1},
        {"url": URL + HALF, "user_id": 123456789},
        {"telegram_url": "https://t.me/channel/123", "user_id": 123456789, "dir_path": f"/{HALF}"},
        {"url": f"tg:{HALF}", "user_id": 123456789},
    ],
)
async def test_lone_surrogates_in_a_new_task_are_refused(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    reply = await client.post(
        "/api/v1/tasks", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    check_error(reply, 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/tasks/%ED%A0%80"),
        ("DELETE", "/api/v1/tasks/%ED%A0%80"),
        ("GET", "/api/v1/storages/local1/files?path=%ED%A0%80"),
        ("GET", "/api/v1/storages/%ED%A0%80/files"),
        ("GET", "/api/v1/history?userid=%ED%A0%80"),
        ("GET", "/api/v1/history?cursor=%ED%A0%80"),
        ("GET", "/api/v1/webhooks/%ED%A0%80"),
    ],
)
async def test_lone_surrogates_in_a_url_cause_no_internal_error(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    reply = await client.request(method, path)
    assert reply.status_code in (400, 404, 503)  # 503: no worker has the storage
