"""Telegram accounts over the API: what is refused, and logins that end."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error


async def begin(client: httpx.AsyncClient, **body: str) -> httpx.Response:
    return await client.post("/api/v1/logins", json={"name": "me", "method": "qr", **body})


async def test_without_an_application_id_a_login_says_what_is_missing(client: httpx.AsyncClient) -> None:
    login = (await begin(client)).json()

    async def has_failed() -> bool:
        found = (await client.get(f"/api/v1/logins/{login['login_id']}")).json()
        return found["state"] == "failed" and "app_id" in found["problem"]

    await until(has_failed)
    reply = await client.post(f"/api/v1/logins/{login['login_id']}/answer", json={"answer": "1"})
    check_error(reply, 409)


async def test_a_session_string_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    login = (await begin(client, method="session", session="nonsense")).json()

    async def has_failed() -> bool:
        found = (await client.get(f"/api/v1/logins/{login['login_id']}")).json()
        return found["state"] == "failed" and "nonsense" not in str(found)

    await until(has_failed)


@pytest.mark.parametrize("name", ["bot", "bot-updates"])
async def test_the_names_of_the_bot_are_taken(client: httpx.AsyncClient, name: str) -> None:
    check_error(await begin(client, name=name), 409)


async def test_a_name_stays_in_the_folder_of_logins(client: httpx.AsyncClient) -> None:
    check_error(await begin(client, name="../x"), 400)


async def test_a_login_that_was_given_up_is_gone(client: httpx.AsyncClient) -> None:
    login = (await begin(client)).json()
    assert (await client.delete(f"/api/v1/logins/{login['login_id']}")).status_code == 200
    check_error(await client.get(f"/api/v1/logins/{login['login_id']}"), 404)


async def test_what_is_not_there_is_not_logged_out(client: httpx.AsyncClient) -> None:
    check_error(await client.delete("/api/v1/accounts/nobody"), 404)
    check_error(await client.delete("/api/v1/accounts/bot"), 409)
    assert (await client.get("/api/v1/accounts")).json() == {"accounts": []}
