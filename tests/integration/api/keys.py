"""Keys of the API, and requests with them."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI

from saveany.models import KeyScope


async def make_key(
    client: httpx.AsyncClient, user_id: int, *scopes: KeyScope, **options: Any
) -> dict[str, Any]:
    """Create a key as the operator; returns the reply."""
    body = {"name": f"key of {user_id}", "user_id": user_id, "scopes": list(scopes), **options}
    reply = await client.post("/api/v1/keys", json=body)
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


def with_secret(app: FastAPI, secret: str) -> httpx.AsyncClient:
    """Requests with the secret of a key, without a network in between."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=headers)


async def with_key(
    app: FastAPI, client: httpx.AsyncClient, user_id: int, *scopes: KeyScope
) -> httpx.AsyncClient:
    """Requests with a new key of a user."""
    return with_secret(app, (await make_key(client, user_id, *scopes))["secret"])
