"""Preferences and rules of users over the API."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.api.conftest import USER, check_error

RULE = r"name=\.mkv$ size>100MB -> local2:Movies/{{ year }}"


async def test_preferences_are_read_and_changed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/preferences")).json()["user_id"] == USER
    changed = {
        "silent": True,
        "storage": "local2",
        "folder": "/Movies/",
        "on_conflict": "ask",
        "template": "x_{{ name }}",
        "shortcuts": [{"storage": "local1", "folder": "a"}, {"storage": "local1", "folder": "/a"}],
    }
    reply = (await client.patch("/api/v1/preferences", json=changed)).raise_for_status().json()
    assert (reply["folder"], reply["storage"], reply["on_conflict"]) == ("Movies", "local2", "ask")
    assert reply["template_example"] == "x_Holiday.mkv"
    assert reply["shortcuts"] == [{"storage": "local1", "folder": "a"}]
    assert (await client.get("/api/v1/preferences")).json() == reply
    assert (await client.get("/api/v1/preferences?user_id=42")).json()["storage"] == ""


@pytest.mark.parametrize(
    ("changed", "field", "status"),
    [
        ({"storage": "nas"}, "storage", 400),
        ({"folder": "../x"}, "folder", 400),
        ({"template": "{{ nope }}"}, "template", 400),
        ({"shortcuts": [{"storage": "nas", "folder": "a"}]}, "shortcuts", 400),
        ({"on_conflict": "burn"}, "on_conflict", 400),
    ],
)
async def test_wrong_preferences(
    client: httpx.AsyncClient, changed: dict[str, object], field: str, status: int
) -> None:
    error = check_error(await client.patch("/api/v1/preferences", json=changed), status)
    assert error["details"][0]["field"] == field


async def test_a_storage_of_others_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.patch("/api/v1/preferences", json={"storage": "local2", "user_id": 42})
    check_error(reply, 403)


async def test_rules_are_set_and_tried(client: httpx.AsyncClient) -> None:
    reply = await client.put("/api/v1/rules", json={"rules": [RULE], "is_on": False})
    assert reply.json() == {"user_id": USER, "is_on": False, "rules": [RULE]}
    trial = (await client.post("/api/v1/rules/test", json={"name": "Film.mkv"})).json()
    assert (trial["rule"], trial["storage"]) == (RULE, "local2")
    assert trial["folder"].startswith("Movies/2")
    other = {"name": "Film.mkv", "rules": [r"name=\.pdf$ -> :Papers"]}
    assert (await client.post("/api/v1/rules/test", json=other)).json()["rule"] == ""


async def test_a_wrong_rule_is_named(client: httpx.AsyncClient) -> None:
    reply = await client.put("/api/v1/rules", json={"rules": [RULE, "name=a -> nas:x"]})
    assert check_error(reply, 400)["details"][0]["field"] == "rules[1]"
    assert (await client.get("/api/v1/rules")).json()["rules"] == []


async def test_a_preset_is_made_but_not_stored(client: httpx.AsyncClient) -> None:
    made = (await client.post("/api/v1/rules/preset", json={"storage": "local1", "folder": "S"})).json()
    assert made["rules"][0].endswith("-> local1:S/Videos")
    assert (await client.put("/api/v1/rules", json={"rules": made["rules"]})).status_code == 200


async def test_a_key_sees_only_its_user(client: httpx.AsyncClient) -> None:
    body = {"name": "script", "user_id": 42, "scopes": ["tasks"]}
    secret = (await client.post("/api/v1/keys", json=body)).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await client.get("/api/v1/preferences", headers=headers)).json()["user_id"] == 42
    for path in ("preferences", "rules"):
        reply = await client.get(f"/api/v1/{path}?user_id={USER}", headers=headers)
        check_error(reply, 404)
