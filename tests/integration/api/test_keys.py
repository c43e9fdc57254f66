"""Keys of the API: who makes them, what they may be used for, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.api.auth import requirement_of
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.models import KeyScope
from saveany.store import Store
from tests.fixtures.catalogue import Postgres
from tests.fixtures.waiting import until
from tests.integration.api.conftest import SEED_BODY, TOKEN, USER, check_error, create, url_of
from tests.integration.api.keys import make_key, with_key, with_secret
from tests.integration.api.test_events import streaming
from tests.integration.api.test_requirements import check_refusal, path_of, routes_of

URL = "/api/v1/keys"


@pytest.fixture
async def key(client: httpx.AsyncClient) -> dict[str, Any]:
    """A key of the first user for everything but other APIs."""
    return await make_key(client, USER, "tasks", "files", "links")


@pytest.fixture
async def owner(app: FastAPI, key: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Requests with this key."""
    async with with_secret(app, key["secret"]) as owner:
        yield owner


async def test_a_key_acts_as_its_user(owner: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    task_id = await create(owner)
    assert (await client.get(f"/api/v1/tasks/{task_id}")).json()["user_id"] == USER
    session = (await owner.get("/api/v1/session")).json()
    assert session == {
        "user_id": USER,
        "is_operator": False,
        "scopes": ["files", "links", "tasks"],
        "csrf_token": None,
        "expires_at": None,
    }
    assert (await client.get("/api/v1/session")).json()["is_operator"] is True


async def test_a_secret_is_shown_once(client: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    reply = await client.post(URL, json={"name": "nas", "user_id": 42, "scopes": ["read"]})
    assert reply.headers["cache-control"] == "no-store"
    made = reply.json()
    secret = made.pop("secret")
    assert made == (await client.get(f"{URL}/{made['key_id']}")).json()
    assert (made["name"], made["user_id"], made["scopes"], made["state"]) == ("nas", 42, ["read"], "active")
    listed = await client.get(URL)
    assert made in listed.json()["keys"]
    assert secret not in listed.text


async def test_a_user_sees_own_keys_only(client: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    other = await make_key(client, 42, "read")
    assert [each["user_id"] for each in (await owner.get(URL)).json()["keys"]] == [USER]
    assert len((await client.get(URL)).json()["keys"]) == 2
    assert [each["key_id"] for each in (await client.get(f"{URL}?user_id=42")).json()["keys"]] == [
        other["key_id"]
    ]
    check_error(await owner.get(f"{URL}?user_id=42"), 404)


async def test_only_the_operator_makes_keys(owner: httpx.AsyncClient) -> None:
    error = check_error(await owner.post(URL, json={"name": "x", "user_id": USER, "scopes": ["read"]}), 403)
    assert "only the operator" in error["message"]


async def test_a_key_revokes_itself_only(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    sibling = await make_key(client, USER, "read")
    other = await make_key(client, 42, "read")
    assert "only itself" in check_error(await owner.delete(f"{URL}/{sibling['key_id']}"), 403)["message"]
    check_error(await owner.delete(f"{URL}/{other['key_id']}"), 404)
    assert (await owner.delete(f"{URL}/{key['key_id']}")).json() == {"message": "key revoked"}
    check_error(await owner.get("/api/v1/tasks"), 401)
    assert (await client.get(f"{URL}/{key['key_id']}")).json()["state"] == "revoked"
    assert (await client.delete(f"{URL}/{sibling['key_id']}")).status_code == 200
    check_error(await client.delete(f"{URL}/nothing"), 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"user_id": 99}, "user_id"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_a_wrong_key_is_refused(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    wrong = {"name": "nas", "user_id": USER, "scopes": ["read"]} | body
    error = check_error(await client.post(URL, json=wrong), 400)
    assert error["details"][0]["field"] == field
    assert (await client.get(URL)).json()["keys"] == []


SCOPES: list[tuple[KeyScope, str, str, int]] = [
    ("tasks", "POST", "/api/v1/tasks", 201),
    ("tasks", "GET", "/api/v1/history", 200),
    ("tasks", "GET", "/api/v1/files", 403),
    ("tasks", "GET", "/api/v1/links", 403),
    ("files", "GET", "/api/v1/files", 200),
    ("files", "GET", "/api/v1/tasks", 403),
    ("files", "POST", "/api/v1/tasks", 403),
    ("links", "GET", "/api/v1/links", 200),
    ("links", "GET", "/api/v1/files", 403),
    ("read", "GET", "/api/v1/tasks", 200),
    ("read", "GET", "/api/v1/files", 200),
    ("read", "GET", "/api/v1/links", 200),
    ("read", "GET", "/api/v1/keys", 200),
    ("read", "POST", "/api/v1/tasks", 403),
    ("read", "DELETE", "/api/v1/history", 403),
    ("read", "GET", "/metrics", 403),
]


@pytest.mark.parametrize(("scope", "method", "path", "status"), SCOPES)
async def test_a_scope_is_needed(
    app: FastAPI, client: httpx.AsyncClient, scope: KeyScope, method: str, path: str, status: int
) -> None:
    async with await with_key(app, client, USER, scope) as user:
        body = SEED_BODY if method == "POST" else None
        reply = await user.request(method, path, json=body)
    assert reply.status_code == status, reply.text
    if status == 403 and path != "/metrics":
        assert "lacks the scope" in check_error(reply, 403)["message"]


async def test_a_key_for_other_apis_may_not_use_this_one(app: FastAPI, client: httpx.AsyncClient) -> None:
    """X2."""
    async with await with_key(app, client, USER, "compat") as user:
        for route in routes_of(app):
            if requirement_of(route):
                for method in route.methods or ():
                    check_refusal(await user.request(method, path_of(route), content=b"{"), 403)
    secret = (await make_key(client, USER, "compat"))["secret"]
    check_error(await client.post("/api/v1/session", json={"key": secret}), 403)


async def test_a_revoked_key_ends_at_once_in_all_processes(
    app: FastAPI,
    client: httpx.AsyncClient,
    config: Config,
    store: Store,
    tmp_path: Path,
    owner: httpx.AsyncClient,
    key: dict[str, Any],
) -> None:
    """X2."""
    second = Catalogue("", tmp_path / "data", store)
    async with with_secret(create_app(config, store, second), key["secret"]) as elsewhere:
        for user in (owner, elsewhere):
            assert (await user.get("/api/v1/tasks")).status_code == 200
        await client.delete(f"{URL}/{key['key_id']}")
        for user in (owner, elsewhere):
            check_error(await user.get("/api/v1/tasks"), 401)
            check_error(await user.get("/nowhere"), 401)
    await second.close()


async def test_the_last_use_is_shown(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    assert key["used_at"] is None
    await owner.get("/api/v1/tasks")

    async def is_noted() -> bool:
        return (await client.get(f"{URL}/{key['key_id']}")).json()["used_at"] is not None

    await until(is_noted)


@pytest.mark.parametrize(
    "secret", ["sa_" + "a" * 32, "sa_", "x", "é" * 35, "sa_" + "A" * 32, "sa_" + "a" * 4000]
)
async def test_another_secret_is_refused(app: FastAPI, key: dict[str, Any], secret: str) -> None:
    headers = [(b"Authorization", b"Bearer " + secret.encode())]
    async with with_secret(app, "") as nobody:
        nobody.headers.pop("Authorization")
        assert (
            "token required"
            in check_error(await nobody.get("/api/v1/tasks", headers=headers), 401)["message"]
        )


async def test_the_idempotency_keys_of_users_are_their_own(app: FastAPI, client: httpx.AsyncClient) -> None:
    body = {"type": "tgfiles", "params": {"message_links": ["https://t.me/channel/1"]}}
    ids = set()
    for user_id in (USER, 42):
        async with await with_key(app, client, user_id, "tasks") as user:
            for _ in range(2):
                reply = await user.post("/api/v1/tasks", json=body, headers={"Idempotency-Key": "1"})
                ids.add((user_id, reply.json()["task_id"]))
    assert len({task_id for _, task_id in ids}) == len(ids) == 2


async def test_an_event_stream_ends_with_its_key(
    server: ApiServer, client: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(base_url=url_of(server), headers=headers, timeout=20) as user:
        task_id = await create(user)
        async with (
            streaming(user, "/api/v1/events") as all_tasks,
            streaming(user, f"/api/v1/tasks/{task_id}/events") as one,
        ):
            await one.until("snapshot")
            await client.delete(f"{URL}/{key['key_id']}")
            assert await one.rest() == await all_tasks.rest() == []


@pytest.fixture
def configured() -> Config:
    keys = [
        {"name": "nas", "user_id": 42, "secret": "a secret of the configuration", "scopes": ["read"]},
        {"name": "pi", "user_id": USER, "secret": "another secret of theirs"},
    ]
    storage = {"name": "local1", "type": "local", "base_path": "files/1"}
    return Config.model_validate(
        {
            "api": {"token": TOKEN, "keys": keys},
            "users": [{"id": USER}, {"id": 42}],
            "storages": [storage],
        }
    )


async def test_keys_of_the_configuration_work(configured: Config, store: Store, catalogue: Catalogue) -> None:
    app = create_app(configured, store, catalogue)
    async with with_secret(app, TOKEN) as operator, with_secret(app, "a secret of the configuration") as nas:
        assert (await nas.get("/api/v1/session")).json()["user_id"] == 42
        check_error(await nas.post("/api/v1/tasks", json=SEED_BODY), 403)
        listed = (await operator.get(URL)).json()["keys"]
        assert [(each["key_id"], each["in_configuration"]) for each in listed] == [
            ("config:nas", True),
            ("config:pi", True),
        ]
        assert (await nas.get(URL)).json()["keys"] == [listed[0]]
        check_error(await nas.get(f"{URL}/config:pi"), 404)
        assert "restart" in check_error(await operator.delete(f"{URL}/config:nas"), 409)["message"]


async def test_the_key_of_a_user_who_was_removed_does_not_work(
    client: httpx.AsyncClient, config: Config, store: Store, catalogue: Catalogue
) -> None:
    secret = (await make_key(client, 42, "tasks"))["secret"]
    left = config.model_copy(update={"users": config.users[:1]})
    async with with_secret(create_app(left, store, catalogue), secret) as user:
        check_error(await user.get("/api/v1/tasks"), 401)


async def test_an_outage_of_the_catalogue_stops_neither_the_operator_nor_known_keys(
    config: Config, store: Store, tmp_path: Path, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(postgres_server.url("postgres"), tmp_path, store)
    app = create_app(config, store, catalogue)
    async with with_secret(app, TOKEN) as operator:
        known, unknown = [await make_key(operator, USER, "tasks") for _ in range(2)]
        async with with_secret(app, known["secret"]) as user, with_secret(app, unknown["secret"]) as other:
            assert (await user.get("/api/v1/tasks")).status_code == 200
            postgres_server.stop(9)
            monkeypatch.setattr("saveany.service.keys._FRESH_SECONDS", -1.0)
            assert (await operator.post("/api/v1/tasks", json=SEED_BODY)).status_code == 201
            assert len((await user.get("/api/v1/tasks")).json()["tasks"]) == 1
            assert "catalogue" in check_error(await other.get("/api/v1/tasks"), 503)["message"]
            assert (await other.get("/health")).status_code == 200
    await catalogue.close()
