"""What the web UI needs of the API: its files, login links, users, the contents of saved files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from saveany.store import Store
from tests.integration.api.conftest import TOKEN, USER, check_error
from tests.integration.api.keys import make_key, with_key, with_secret
from tests.integration.catalogue.test_files import save

SESSION, LINKS = "/api/v1/session", "/api/v1/session/links"


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as browser:
        yield browser


async def test_the_page_and_its_files_are_for_everybody(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/", headers={"Sec-Fetch-Site": "cross-site", "Accept-Encoding": "identity"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    again = await browser.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    root = page.text.partition('src="')[2].partition("app.js")[0]
    script = await browser.get(f"/{root}app.js", headers={"Accept-Encoding": "gzip"})
    assert (script.status_code, script.headers["content-encoding"]) == (200, "gzip")
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"].startswith("text/javascript")
    assert len((await browser.head(f"/{root}app.js")).content) == 0
    check_error(await browser.get(f"/{root}site.py"), 404)
    check_error(await browser.get("/assets/other/app.js"), 404)
    check_error(await browser.post("/"), 405)


async def test_a_login_link_begins_one_session(client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    made = await client.post(LINKS)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    offer = made.json()
    assert offer["url"].endswith(f"/#/login/{offer['code']}")
    begun = await browser.post(SESSION, json={"code": offer["code"]})
    assert (begun.status_code, begun.json()["is_operator"]) == (201, True)
    assert (await browser.get("/api/v1/queue")).status_code == 200
    check_error(await browser.post(SESSION, json={"code": offer["code"]}), 401)


async def test_a_login_link_gives_no_more_than_its_maker_has(
    app: FastAPI, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    made = await make_key(client, USER, "tasks")
    async with with_secret(app, made["secret"]) as own:
        code, later = [(await own.post(LINKS)).json()["code"] for _ in range(2)]
    begun = (await browser.post(SESSION, json={"code": code})).json()
    assert (begun["user_id"], begun["is_operator"], begun["scopes"]) == (USER, False, ["tasks"])
    assert (await client.delete(f"/api/v1/keys/{made['key_id']}")).status_code == 200
    check_error(await browser.post(SESSION, json={"code": later}), 401)
    check_error(await browser.get("/api/v1/tasks"), 401)


async def test_who_is_not_logged_in_makes_no_login_link(browser: httpx.AsyncClient) -> None:
    check_error(await browser.post(LINKS), 401)


async def test_who_tries_tokens_is_stopped(browser: httpx.AsyncClient) -> None:
    for _ in range(20):
        check_error(await browser.post(SESSION, json={"token": "wrong"}), 401)
    check_error(await browser.post(SESSION, json={"token": "wrong"}), 429)
    refused = await browser.post(SESSION, json={"token": TOKEN})
    check_error(refused, 429)
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "body", [{}, {"token": "a", "code": "b"}, {"key": "a", "code": "b"}, {"token": "a", "key": "b"}]
)
async def test_one_secret_is_enough(browser: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert "one of" in check_error(await browser.post(SESSION, json=body), 400)["message"]


async def test_users_see_themselves(app: FastAPI, client: httpx.AsyncClient) -> None:
    everybody = (await client.get("/api/v1/users")).json()["users"]
    first = next(each for each in everybody if each["user_id"] == USER)
    assert first["storage"] == first["storages"][0]
    assert first["folder"] == "/"
    async with await with_key(app, client, USER, "tasks") as own:
        assert (await own.get("/api/v1/users")).json()["users"] == [first]


async def test_a_folder_is_found_by_its_id(client: httpx.AsyncClient) -> None:
    outer = (await client.post("/api/v1/folders", json={"name": "a", "user_id": 7})).json()
    body = {"name": "b", "parent_id": outer["folder_id"]}
    inner = (await client.post("/api/v1/folders", json=body)).json()
    assert (await client.get(f"/api/v1/folders/{inner['folder_id']}")).json() == inner
    assert inner["path"] == "/a/b"
    check_error(await client.get("/api/v1/folders/999"), 404)


async def test_contents_are_only_for_those_who_may_see_the_file(
    app: FastAPI, client: httpx.AsyncClient, store: Store
) -> None:
    await save(store, "a.txt", user=7)
    (file,) = (await client.get("/api/v1/files")).json()["files"]
    async with await with_key(app, client, USER, "files") as other:
        for end in ("content", "thumbnail"):
            check_error(await other.get(f"/api/v1/files/{file['file_id']}/{end}"), 404)
    check_error(await client.get("/api/v1/files/nothing/content"), 404)
