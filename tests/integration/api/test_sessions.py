"""Sessions of browsers: a cookie, and protection against requests of other sites."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store
from tests.integration.api.conftest import SEED_BODY, TOKEN, USER, check_error, create, url_of
from tests.integration.api.keys import make_key
from tests.integration.api.test_events import streaming

URL = "/api/v1/session"


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Requests of a browser, which keeps cookies and has no token."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as browser:
        yield browser


@pytest.fixture
async def key(client: httpx.AsyncClient) -> dict[str, Any]:
    return await make_key(client, USER, "tasks")


async def log_in(browser: httpx.AsyncClient, **body: str) -> dict[str, Any]:
    """Begin a session, whose requests have the CSRF token from then on; returns the reply."""
    reply = await browser.post(URL, json=body)
    assert reply.status_code == 201, reply.text
    begun: dict[str, Any] = reply.json()
    browser.headers["X-CSRF-Token"] = begun["csrf_token"]
    return begun


async def test_the_operator_begins_a_session(browser: httpx.AsyncClient, store: Store) -> None:
    check_error(await browser.get("/api/v1/tasks"), 401)
    begun = await log_in(browser, token=TOKEN)
    assert (begun["user_id"], begun["is_operator"]) == (None, True)
    assert (await browser.get(URL)).json() == begun
    assert (await browser.post("/api/v1/queue/pause")).status_code == 200
    assert await store.settings.paused()


async def test_the_user_of_a_key_begins_a_session(browser: httpx.AsyncClient, key: dict[str, Any]) -> None:
    begun = await log_in(browser, key=key["secret"])
    assert (begun["user_id"], begun["is_operator"], begun["scopes"]) == (USER, False, ["tasks"])
    await create(browser)
    check_error(await browser.get("/api/v1/files"), 403)
    check_error(await browser.post("/api/v1/queue/pause"), 403)


async def test_a_login_does_not_continue_the_session_of_the_cookie_that_was_there(
    app: FastAPI, browser: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    """Session fixation: who has planted a cookie, of no session or of their own, does not get into the new
    one."""
    await log_in(browser, key=key["secret"])
    own = browser.cookies["saveany_session"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as victim:
        for planted in (own, "chosen-by-somebody-else"):
            victim.cookies.clear()
            cookie = {"Cookie": f"saveany_session={planted}"}
            reply = await victim.post(URL, json={"token": TOKEN}, headers=cookie)
            assert reply.status_code == 201
            assert SimpleCookie(reply.headers["set-cookie"])["saveany_session"].value != planted
            victim.cookies.clear()
            reply = await victim.get(URL, headers=cookie)
            assert reply.status_code == 401 or not reply.json()["is_operator"]


async def test_pages_cannot_read_the_cookie(browser: httpx.AsyncClient) -> None:
    reply = await browser.post(URL, json={"token": TOKEN})
    assert reply.headers["cache-control"] == "no-store"
    cookie = SimpleCookie(reply.headers["set-cookie"])["saveany_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (
        True,
        "lax",
        "/",
        "",
    )
    assert int(cookie["max-age"]) == 30 * 24 * 3600
    assert TOKEN not in reply.text + cookie.value
    reply = await browser.post("https://api" + URL, json={"token": TOKEN})
    assert SimpleCookie(reply.headers["set-cookie"])["saveany_session"]["secure"] is True


async def test_redis_does_not_know_the_cookie(browser: httpx.AsyncClient, store: Store) -> None:
    await log_in(browser, token=TOKEN)
    value = browser.cookies["saveany_session"]
    [name] = await store.db.do("KEYS", "sa:session:*")
    stored = await store.db.do("GET", name)
    assert value.encode() not in name + stored
    assert TOKEN.encode() not in name + stored
    assert 0 < await store.db.do("TTL", name) <= 30 * 24 * 3600


@pytest.mark.parametrize("token", ["", "wrong", "é" * 64])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/tasks"), ("POST", "/api/v1/queue/pause"), ("PUT", "/api/v1/limits"), ("DELETE", URL)],
)
async def test_changes_need_the_csrf_token(
    browser: httpx.AsyncClient, store: Store, method: str, path: str, token: str
) -> None:
    await log_in(browser, token=TOKEN)
    body = SEED_BODY if path.endswith("tasks") else {}
    headers = [(b"X-CSRF-Token", token.encode())]
    del browser.headers["X-CSRF-Token"]
    error = check_error(await browser.request(method, path, json=body, headers=headers), 403)
    assert "csrf_token" in error["message"]
    assert not await store.settings.paused()
    assert (await store.tasks.counts())["queued"] == 0
    assert (await browser.get("/api/v1/tasks")).status_code == 200, "reading needs none"


async def test_the_csrf_token_of_another_session_is_refused(app: FastAPI, browser: httpx.AsyncClient) -> None:
    await log_in(browser, token=TOKEN)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as other:
        foreign = await log_in(other, token=TOKEN)
    headers = {"X-CSRF-Token": foreign["csrf_token"]}
    check_error(await browser.post("/api/v1/queue/pause", headers=headers), 403)


async def test_a_page_of_another_site_cannot_begin_a_session(browser: httpx.AsyncClient) -> None:
    reply = await browser.post(URL, json={"token": TOKEN}, headers={"Origin": "https://evil.example"})
    check_error(reply, 403)
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"token": "wrong"}, 401),
        ({"key": "wrong"}, 401),
        ({"key": "sa_" + "a" * 32}, 401),
        ({"token": "\ud800"}, 400),
        ({}, 400),
        ({"token": TOKEN, "key": TOKEN}, 400),
        ({"password": "x"}, 400),
    ],
)
async def test_a_wrong_secret_begins_no_session(
    browser: httpx.AsyncClient, store: Store, body: dict[str, str], status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    check_error(await browser.post(URL, content=json.dumps(body), headers=headers), status)
    assert await store.db.do("KEYS", "sa:session:*") == []


async def test_a_session_ends_at_once_in_all_processes(
    browser: httpx.AsyncClient, config: Config, store: Store, tmp_path: Path
) -> None:
    second = Catalogue("", tmp_path / "data", store)
    begun = await log_in(browser, token=TOKEN)
    transport = httpx.ASGITransport(create_app(config, store, second))
    cookies = dict(browser.cookies)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", cookies=cookies) as elsewhere:
        assert (await elsewhere.get(URL)).json() == begun
        reply = await browser.delete(URL)
        assert reply.json() == {"message": "session ended"}
        assert 'saveany_session=""' in reply.headers["set-cookie"]
        assert "saveany_session" not in browser.cookies
        browser.cookies.update(cookies)
        for each in (browser, elsewhere):
            check_error(await each.get("/api/v1/tasks"), 401)
    await second.close()


async def test_a_session_ends_with_its_key(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    await log_in(browser, key=key["secret"])
    assert (await browser.get("/api/v1/tasks")).status_code == 200
    await client.delete(f"/api/v1/keys/{key['key_id']}")
    check_error(await browser.get("/api/v1/tasks"), 401)


async def test_a_session_ends_when_the_token_is_replaced(
    browser: httpx.AsyncClient, config: Config, store: Store, catalogue: Catalogue
) -> None:
    await log_in(browser, token=TOKEN)
    changed = config.model_copy(
        update={"api": config.api.model_validate(config.api.model_dump() | {"token": "the next token"})}
    )
    transport = httpx.ASGITransport(create_app(changed, store, catalogue))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", cookies=browser.cookies
    ) as later:
        check_error(await later.get("/api/v1/tasks"), 401)


async def test_a_session_expires(browser: httpx.AsyncClient, store: Store) -> None:
    await log_in(browser, token=TOKEN)
    [name] = await store.db.do("KEYS", "sa:session:*")
    await store.db.do("PEXPIREAT", name, 1)
    check_error(await browser.get("/api/v1/tasks"), 401)


async def test_event_streams_end_with_their_session(server: ApiServer) -> None:
    async with httpx.AsyncClient(base_url=url_of(server), timeout=20) as browser:
        await log_in(browser, token=TOKEN)
        await create(browser)
        async with streaming(browser, "/api/v1/events") as stream:
            await browser.delete(URL)
            assert await stream.rest() == []


@pytest.mark.parametrize("authorization", ["Basic dXNlcjpwYXNz", "Bearer "])
async def test_what_a_proxy_adds_does_not_disturb_a_session(
    browser: httpx.AsyncClient, authorization: str
) -> None:
    await log_in(browser, token=TOKEN)
    headers = {
        "Authorization": authorization,
        "Cookie": f"a=b; saveany_session={browser.cookies['saveany_session']}",
    }
    assert (await browser.get("/api/v1/tasks", headers=headers)).status_code == 200


async def test_a_wrong_token_is_not_replaced_by_a_cookie(browser: httpx.AsyncClient) -> None:
    await log_in(browser, token=TOKEN)
    check_error(await browser.get("/api/v1/tasks", headers={"Authorization": "Bearer wrong"}), 401)


@pytest.fixture
async def open_browser(
    config: Config, store: Store, catalogue: Catalogue
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on an API without a token."""
    api = config.api.model_validate({})
    transport = httpx.ASGITransport(create_app(config.model_copy(update={"api": api}), store, catalogue))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as browser:
        yield browser


async def test_without_a_token_only_keys_and_sessions_are_not_the_operator(
    open_browser: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    assert (await open_browser.get(URL)).json()["is_operator"] is True
    check_error(await open_browser.post(URL, json={"token": "x"}), 401)
    headers = {"Authorization": f"Bearer {key['secret']}"}
    assert (await open_browser.get(URL, headers=headers)).json()["user_id"] == USER
    await log_in(open_browser, key=key["secret"])
    check_error(await open_browser.get("/metrics"), 403)
    check_error(await open_browser.get(URL, headers={"Authorization": "Bearer sa_" + "a" * 32}), 401)
    assert (await open_browser.delete(URL)).status_code == 200
    assert (await open_browser.get(URL)).json()["is_operator"] is True
