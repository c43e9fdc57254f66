"""A client of the API, synchronous and asynchronous, with types.

    from saveany.client import Client
    from saveany.client.tasks_requests import create_task

    with Client("http://127.0.0.1:8080", "key or token") as client:
        made = client.send(create_task({"url": "https://t.me/channel/123"}))
        print(client.wait(made["task_id"])["status"])

Each operation of the API is a function that makes a request; its module is named after the group of the
operation. The types of bodies and replies are in `saveany.client.models`. docs/howto/python-client.md has
examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiError, ApiRequest
from saveany.client.server_events import ServerEvent

if TYPE_CHECKING:
    from saveany.client.asynchronous import AsyncClient
    from saveany.client.blocking import Client
    from saveany.client.signing import SigningKey

__all__ = ["ApiError", "ApiRequest", "AsyncClient", "Client", "ServerEvent", "SigningKey"]


def __getattr__(name: str) -> object:
    """Import a client when it is used: each needs other parts of httpx."""
    if name == "Client":
        from saveany.client.blocking import Client

        return Client
    if name == "AsyncClient":
        from saveany.client.asynchronous import AsyncClient

        return AsyncClient
    if name == "SigningKey":
        from saveany.client.signing import SigningKey

        return SigningKey
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
