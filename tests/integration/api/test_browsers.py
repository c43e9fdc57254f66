"""Requests that browsers send for pages of other sites are refused, with and without a token."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store
from tests.integration.api.conftest import SEED_BODY, USER, check_error, create

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def open_client(store: Store, catalogue: Catalogue) -> AsyncIterator[httpx.AsyncClient]:
    """Requests to an API that has no token."""
    storage = {"name": "local1", "type": "local", "base_path": "files/1"}
    config = Config.model_validate({"users": [{"id": USER}], "storages": [storage]})
    app: FastAPI = create_app(config, store, catalogue)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080"
    ) as client:
        yield client


@pytest.fixture(params=["token", "no token"])
def any_client(
    request: pytest.FixtureRequest, client: httpx.AsyncClient, open_client: httpx.AsyncClient
) -> httpx.AsyncClient:
    return client if request.param == "token" else open_client


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://api.evil.example"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "Cross-Site", "Origin": "http://127.0.0.1:8080"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/tasks"),
        ("GET", "/health"),
        ("POST", "/api/v1/tasks"),
        ("POST", "/api/v1/queue/pause"),
        ("DELETE", "/api/v1/tasks/x"),
        ("PUT", "/api/v1/limits"),
        ("GET", "/nowhere"),
    ],
)
async def test_requests_from_pages_of_other_sites_are_refused(
    any_client: httpx.AsyncClient, store: Store, method: str, path: str, headers: dict[str, str]
) -> None:
    body = SEED_BODY if path.endswith("tasks") and method == "POST" else None
    error = check_error(await any_client.request(method, path, json=body, headers=JSON | headers), 403)
    assert "another site" in error["message"]
    assert not await store.settings.paused()
    assert (await store.tasks.counts())["queued"] == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Origin", ["http://127.0.0.1:8080", "https://evil.example"]),
        ("Origin", ["https://evil.example", "http://127.0.0.1:8080"]),
        ("Host", ["127.0.0.1:8080", "evil.example"]),
        ("Host", ["evil.example", "127.0.0.1:8080"]),
    ],
)
async def test_one_bad_header_is_enough_for_a_refusal(
    open_client: httpx.AsyncClient, name: str, values: list[str]
) -> None:
    headers = [(name, value) for value in values]
    check_error(await open_client.get("/api/v1/tasks", headers=headers), 403)


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_requests_from_its_own_pages_are_accepted(any_client: httpx.AsyncClient, site: str) -> None:
    url = any_client.base_url
    origin = f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}"
    reply = await any_client.get("/api/v1/tasks", headers={"Origin": origin, "Sec-Fetch-Site": site})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "tasks.example", "Origin": "https://tasks.example"},
        {"Host": "tasks.example:443", "Origin": "https://tasks.example"},
        {"Host": "backend:8080", "X-Forwarded-Host": "tasks.example", "Origin": "https://tasks.example"},
    ],
)
async def test_requests_from_its_own_pages_behind_a_proxy_are_accepted(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.get("/api/v1/tasks", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.1",
        "api",
        "",
        "[::2]",
        "[",
        "\xff",
    ],
)
async def test_host_names_that_others_control_are_refused(open_client: httpx.AsyncClient, host: str) -> None:
    reply = await open_client.get("/api/v1/tasks", headers=[(b"Host", host.encode("latin-1"))])
    assert "localhost" in check_error(reply, 403)["message"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.1.2.3:80", "[::1]:8080"]
)
async def test_host_names_of_this_machine_are_accepted(open_client: httpx.AsyncClient, host: str) -> None:
    assert (await open_client.get("/api/v1/tasks", headers={"Host": host})).status_code == 200


async def test_any_host_name_is_accepted_with_a_token(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/tasks", headers={"Host": "nas.example"})).status_code == 200


@pytest.mark.parametrize(
    "type_", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/tasks"), ("PUT", "/api/v1/limits"), ("POST", "/api/v1/queue/pause")],
)
async def test_a_body_with_another_content_type_is_refused(
    any_client: httpx.AsyncClient, store: Store, method: str, path: str, type_: str
) -> None:
    headers = [(b"Content-Type", type_.encode())] if type_ else []
    reply = await any_client.request(method, path, content=b"{}", headers=headers)
    assert "application/json" in check_error(reply, 415)["message"]
    assert not await store.settings.paused()


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("end", ["pause", "resume", "retry"])
async def test_a_form_without_a_body_is_refused(any_client: httpx.AsyncClient, end: str, type_: str) -> None:
    task_id = await create(any_client)
    reply = await any_client.post(f"/api/v1/tasks/{task_id}/{end}", headers={"Content-Type": type_})
    check_error(reply, 415)
    reply = await any_client.delete(f"/api/v1/tasks/{task_id}", headers={"Content-Type": type_})
    check_error(reply, 415)


async def test_without_a_token_every_post_needs_the_json_content_type(
    open_client: httpx.AsyncClient, client: httpx.AsyncClient, store: Store
) -> None:
    check_error(await open_client.post("/api/v1/queue/pause"), 415)
    assert not await store.settings.paused()
    assert (await open_client.post("/api/v1/queue/pause", headers=JSON)).status_code == 200
    assert (await client.post("/api/v1/queue/resume")).status_code == 200, "the token says enough"


async def test_a_delete_needs_no_content_type(any_client: httpx.AsyncClient) -> None:
    assert (await any_client.delete(f"/api/v1/tasks/{await create(any_client)}")).status_code == 200


async def test_cookies_keep_nobody_waiting(
    any_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's parser takes seconds for some thousand backslashes, and the framework calls it for every
    request. Cookies of other programs on this host do not matter."""
    parsed: list[str] = []

    def parse(header: str) -> dict[str, str]:
        parsed.append(header)
        return {}

    monkeypatch.setattr("starlette.requests.cookie_parser", parse)
    harmful = 'a=b; other="' + "\\" * 10_000 + '"; c="d"'
    reply = await any_client.get("/health", headers={"Cookie": harmful})
    assert reply.status_code == 200
    assert parsed
    assert {tuple(part.strip() for part in each.split(";")) for each in parsed} == {("a=b", 'c="d"')}
