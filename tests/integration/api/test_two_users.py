"""A user can neither use nor detect what belongs to another: every route of the API, over HTTP.

The cases are made from the routes of the application. A new route is tested, too; if it has parameters or a
body that are not known here, its test fails and says so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from saveany.api.app import ROUTERS
from saveany.api.auth import requirement_of
from saveany.api.server import ApiServer
from saveany.api.sse import EventStream
from saveany.models import Delivery, Item, ItemStatus, Progress, Status
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.store.live import LiveWatch
from tests.integration.api.conftest import SEED_BODY, USER, check_error, claim, create, url_of
from tests.integration.api.keys import make_key, with_secret
from tests.integration.api.test_events import streaming
from tests.integration.api.test_requirements import check_refusal, path_of


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ANNA, BERT = USER, 42
#: Is in the names of everything that belongs to Anna.
MARK = "annas"

#: The headers of tus for each method. An upload is begun for Anna.
TUS: dict[str, dict[str, str]] = {
    method: {"Tus-Resumable": "1.0.0", **headers}
    for method, headers in {
        "OPTIONS": {},
        "HEAD": {},
        "DELETE": {},
        "POST": {
            "Upload-Length": "5",
            "Upload-Metadata": f"name {_base64(MARK)},user_id {_base64(str(ANNA))}",
            "X-HTTP-Method-Override": "HEAD",
        },
        "PATCH": {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"},
    }.items()
}
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
PROTECTED = [(route, method) for route in ROUTES if requirement_of(route) for method in route.methods or ()]


def is_of_operator(route: APIRoute) -> bool:
    requirement = requirement_of(route)
    return requirement is not None and not requirement.scopes


def is_stream(route: APIRoute) -> bool:
    return route.response_class is EventStream


def is_about_one(route: APIRoute) -> bool:
    """Whether it concerns one thing, which its path names."""
    return bool(route.param_convertors) and not is_of_operator(route)


def is_about_all(route: APIRoute) -> bool:
    """Whether it concerns everything that the caller has."""
    about_caller = route.operation_id == "createLoginLink"  # it has no parameters at all
    return not (route.param_convertors or is_of_operator(route) or is_stream(route) or about_caller)


def has_user_filter(route: APIRoute) -> bool:
    names = {param.alias for param in route.dependant.query_params}
    return "user_id" in names and is_about_all(route) and "GET" in (route.methods or ())


def is_stream_of_all(route: APIRoute) -> bool:
    return is_stream(route) and not route.param_convertors


def cases(is_meant: Callable[[APIRoute], bool]) -> pytest.MarkDecorator:
    """A test for each protected route of a kind."""
    found = [(route, method) for route, method in PROTECTED if is_meant(route)]
    assert found
    ids = [f"{method} {route.path}" for route, method in found]
    return pytest.mark.parametrize(("route", "method"), found, ids=ids)


@dataclass(frozen=True)
class Users:
    """Requests of two users, and what belongs to the first."""

    anna: httpx.AsyncClient
    bert: httpx.AsyncClient
    ids: dict[str, Any]  # by the names that parameters have for them

    def bodies(self) -> dict[str, dict[str, Any]]:
        """A valid body for each operation that has one, for Anna where it names a user."""
        return {
            "createTask": SEED_BODY | {"user_id": ANNA, "storage_name": "local1"},
            "resolveLinks": SEED_BODY | {"user_id": ANNA, "storage_name": "local1"},
            "changeTask": {"priority": 5},
            "createLink": {"file_id": self.ids["file_id"], "user_id": ANNA},
            "changeLink": {"revoked": True},
            "changeSavedFile": {"caption": "changed"},
            "createFolder": {"name": "new", "user_id": ANNA},
            "changeFolder": {"name": "changed"},
            "createArchive": {"chat": "@channel", "user_id": ANNA},
            "createLive": {"chat": "@channel", "user_id": ANNA},
            "estimateArchive": {"chat": "@channel", "user_id": ANNA},
            "verifyArchive": {},
            "listChatFiles": {"chat": "@channel", "user_id": ANNA},
            "exportChat": {"chat": "@channel", "user_id": ANNA},
            "changePreferences": {"silent": True, "user_id": ANNA},
            "setRules": {"rules": ["name=x -> :x"], "user_id": ANNA},
            "testRules": {"name": "x", "user_id": ANNA},
            "testRulesOnChat": {"chat": "@channel", "user_id": ANNA},
            "makePresetRules": {"user_id": ANNA},
        }

    def body(self, route: APIRoute) -> dict[str, Any] | None:
        if route.body_field is None:
            return None
        bodies = self.bodies()
        assert route.operation_id in bodies, f"add a body for {route.operation_id} to Users.bodies"
        return bodies[route.operation_id]

    async def prepare(self, route: APIRoute) -> None:
        """Bring what belongs to Anna into the state that the operation needs."""
        if route.operation_id == "restoreSavedFile":
            deleted = await self.anna.delete(f"/api/v1/files/{self.ids['file_id']}")
            assert deleted.status_code == 200

    async def send(self, user: httpx.AsyncClient, route: APIRoute, method: str) -> httpx.Response:
        """A request of a user for what belongs to Anna."""
        missing = set(route.param_convertors) - set(self.ids)
        assert not missing, f"add something of Anna that the parameters {missing} of {route.path} can name"
        path = path_of(route, **self.ids)
        if route.path.startswith("/api/v1/uploads"):
            return await user.request(method, path, headers=TUS[method], content=b"")
        if route.operation_id == "uploadFile":
            params: dict[str, str | int] = {"name": "x", "user_id": ANNA}
            return await user.post(path, params=params, content=b"x", headers={"Content-Type": "image/png"})
        if route.operation_id == "createTasksFromList":
            return await user.post(path, params={"user_id": ANNA}, content=b"https://t.me/channel/123")
        return await user.request(method, path, json=self.body(route))

    async def state(self) -> dict[str, str]:
        """Everything that Anna sees, except when her key was used, and how often her files were sent."""
        found = {}
        for route, method in PROTECTED:
            if method == "GET" and not (is_of_operator(route) or is_stream(route)):
                reply = await self.send(self.anna, route, method)
                found[route.path] = re.sub(r'"(used_at|downloads|bytes_sent)":[^,]*', "", reply.text)
        return found


@pytest.fixture
async def users(
    app: FastAPI, client: httpx.AsyncClient, store: Store, tmp_path: Path
) -> AsyncIterator[Users]:
    folder = tmp_path / "files/1" / MARK
    folder.mkdir(parents=True)
    for n in range(2):
        (folder / f"{MARK}{n}.pdf").write_bytes(b"x")
    keys = [
        await make_key(client, user, "tasks", "files", "links", "read", name=f"{MARK} key")
        for user in (ANNA, BERT)
    ]
    async with with_secret(app, keys[0]["secret"]) as anna, with_secret(app, keys[1]["secret"]) as bert:
        task_id, delivery_id = await save(anna, store)
        [file, old] = (await anna.get("/api/v1/files")).json()["files"]
        assert (await anna.delete(f"/api/v1/files/{old['file_id']}")).status_code == 200
        link = await anna.post("/api/v1/links", json={"folder_id": file["folder_id"], "user_id": ANNA})
        live = await create(anna, telegram_url=f"https://t.me/{MARK}/1", user_id=ANNA)
        begun = await anna.post("/api/v1/uploads", headers=TUS["POST"])
        ids = {
            "upload_id": begun.headers["location"].rpartition("/")[2],
            "task_id": live,
            "file_id": file["file_id"],
            "folder_id": file["folder_id"],
            "token": link.json()["token"],
            "delivery_id": delivery_id,
            "key_id": keys[0]["key_id"],
            "archive_id": await archive(store),
            "live_id": await live_watch(store),
        }
        assert task_id != live
        yield Users(anna, bert, ids)


async def archive(store: Store) -> str:
    """An archive of Anna; returns its id."""
    added = Archive(
        id="4c1f09a2be",
        user_id=ANNA,
        chat=-1001500000001,
        title=f"{MARK} chat",
        username=MARK,
        account="me",
        created_at=1,
        storage="",
        folder="",
        filter={},
        seen=0,
        notify="none",
        language="en",
    )
    await store.archives.add(added)
    return added.id


async def live_watch(store: Store) -> str:
    """A chat that is recorded for Anna when it goes live; returns the id of the watch."""
    added = LiveWatch(
        id="5d1f09a2be", user_id=ANNA, chat=-1001500000001, title=f"{MARK} chat", account="me", created_at=1
    )
    await store.live.add(added)
    return added.id


async def save(user: httpx.AsyncClient, store: Store, user_id: int = ANNA) -> tuple[str, str]:
    """A task of a user that has saved two files in a folder; returns its id and that of its webhook."""
    task_id = await create(user, user_id=user_id, webhook_url=f"https://{MARK}.example/hook")
    claimed = await claim(store)
    names = [f"{MARK}{n}.pdf" for n in range(2)]
    paths = [f"{MARK}/{name}" for name in names]
    items = [Item(index=n, name=names[n], path=path, final=path, size=1) for n, path in enumerate(paths)]
    await claimed.plan(f"{MARK} title", items, Progress(), [])
    delivery = Delivery(
        id=f"msg_{task_id}_1_completed_asked",
        task_id=task_id,
        event="task.completed",
        url=f"https://{MARK}.example/hook",
        body="{}",
    )
    saved = [msgspec.structs.replace(item, status=ItemStatus.COMPLETED) for item in items]
    await claimed.finish(Status.COMPLETED, items=saved, deliveries=[delivery])
    return task_id, delivery.id


@cases(is_of_operator)
async def test_a_route_of_the_operator_is_forbidden(users: Users, route: APIRoute, method: str) -> None:
    path = path_of(route, **{"name": "local1"} | users.ids)
    error = check_error(await users.bert.request(method, path, json={}), 403)
    assert "only the operator" in error["message"]


@cases(is_about_one)
async def test_what_belongs_to_another_user_does_not_exist(
    users: Users, route: APIRoute, method: str
) -> None:
    """SB10."""
    await users.prepare(route)
    before = await users.state()
    reply = await users.send(users.bert, route, method)
    check_refusal(reply, 404)
    assert MARK not in reply.text
    assert await users.state() == before
    if not (is_stream(route) or route.path.endswith("/thumbnail")):  # which would not end, or has none
        assert (await users.send(users.anna, route, method)).status_code in (200, 201, 202, 204, 409)


@cases(is_about_all)
async def test_a_route_without_parameters_concerns_only_the_caller(
    users: Users, route: APIRoute, method: str
) -> None:
    before = await users.state()
    reply = await users.send(users.bert, route, method)
    if method in ("POST", "PUT", "PATCH"):  # for Anna
        check_error(reply, 403 if reply.status_code == 403 else 404)
    else:
        assert reply.status_code in (200, 204), reply.text
        assert MARK not in reply.text.replace(f'"name":"{MARK} key","user_id":{BERT}', "")
        assert str(ANNA) not in reply.text
    assert await users.state() == before


@cases(has_user_filter)
async def test_a_list_cannot_be_asked_for_another_user(users: Users, route: APIRoute, method: str) -> None:
    reply = await users.bert.request(method, route.path, params={"user_id": ANNA})
    assert f"not to user {ANNA}" in check_error(reply, 404)["message"]
    assert (await users.bert.request(method, route.path, params={"user_id": BERT})).status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/files?folder={}", "folder_id"),
        ("/api/v1/folders?parent={}", "folder_id"),
        ("/api/v1/webhooks/deliveries?task_id={}", "task_id"),
    ],
)
async def test_a_filter_does_not_name_what_belongs_to_another_user(
    users: Users, path: str, name: str
) -> None:
    url = path.format(users.ids[name])
    check_error(await users.bert.get(url), 404)
    assert (await users.anna.get(url)).status_code == 200


async def test_a_link_cannot_lead_to_a_file_of_another_user(users: Users) -> None:
    for target in ({"file_id": users.ids["file_id"]}, {"folder_id": users.ids["folder_id"]}):
        check_error(await users.bert.post("/api/v1/links", json={**target, "user_id": BERT}), 404)
        check_error(await users.bert.post("/api/v1/links", json={**target, "user_id": ANNA}), 404)


async def test_a_folder_of_another_user_takes_nothing_in(users: Users, store: Store) -> None:
    foreign = users.ids["folder_id"]
    made = await users.bert.post("/api/v1/folders", json={"name": "berts"})
    own = made.json()["folder_id"]
    assert made.json()["user_id"] == BERT
    await store.tasks.cancel(users.ids["task_id"], [])
    await save(users.bert, store, BERT)
    file = (await users.bert.get("/api/v1/files")).json()["files"][0]
    for method, path, body in (
        ("POST", "/api/v1/folders", {"name": "x", "parent_id": foreign}),
        ("PATCH", f"/api/v1/folders/{own}", {"parent_id": foreign}),
        ("PATCH", f"/api/v1/files/{file['file_id']}", {"folder_id": foreign}),
    ):
        check_error(await users.bert.request(method, path, json=body), 404)
    inside = (await users.anna.get(f"/api/v1/files?folder={foreign}")).json()["files"]
    assert [each["user_id"] for each in inside] == [ANNA]
    assert (await users.anna.get(f"/api/v1/folders?parent={foreign}")).json()["folders"] == []


async def test_the_webhooks_of_the_operator_are_not_shown(
    users: Users, client: httpx.AsyncClient, store: Store
) -> None:
    task_id = await create(users.bert, user_id=BERT)
    secret = Delivery(
        id=f"msg_{task_id}_1_failed_own",
        task_id=task_id,
        event="task.failed",
        url="https://operator.example/hook",
        body="{}",
        trusted=True,
    )
    await store.tasks.cancel(users.ids["task_id"], [])
    claimed = await claim(store)
    assert claimed.task.id == task_id
    await claimed.finish(Status.FAILED, deliveries=[secret])
    assert (await users.bert.get("/api/v1/webhooks/deliveries")).json()["deliveries"] == []
    check_error(await users.bert.post(f"/api/v1/webhooks/deliveries/{secret.id}/redeliver"), 404)
    assert len((await client.get("/api/v1/webhooks/deliveries")).json()["deliveries"]) == 2


@pytest.mark.parametrize("last_id", ["", "1-1"])
@cases(is_stream_of_all)
async def test_a_stream_has_only_events_of_the_caller(
    users: Users, server: ApiServer, route: APIRoute, method: str, last_id: str
) -> None:
    headers = dict(users.bert.headers)
    async with httpx.AsyncClient(base_url=url_of(server), headers=headers, timeout=20) as bert:
        first = await create(bert, user_id=BERT)
        async with streaming(bert, route.path, last_id) as stream:
            await users.anna.delete(f"/api/v1/tasks/{users.ids['task_id']}")
            await create(users.anna, user_id=ANNA)
            await bert.delete(f"/api/v1/tasks/{first}")
            events = await stream.until("task.canceled")
    assert {event.data["task_id"] for event in events if event.type != "reset"} == {first}
