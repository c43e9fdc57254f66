"""The storage `openload` with SaveAny itself as the host: in each dialect, files arrive as they were sent."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.compat.conftest import OTHER_USER, Api, Login
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import STORAGE, USER_ID, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a-secret-that-only-tests-know-0123456789"
LOGIN = "config:tape"
PDF, BIG = "https://t.me/channel/123", "https://t.me/channel/127"
PREFIXES = {"streamtape": "", "openload": "/1", "pstream": "/v1"}


class Looped(Stack):
    """A SaveAny that is a storage of itself, for another of its users."""

    def write_config(self, **more: Any) -> None:
        host = f"{self.url}/compat/openload"
        tapes = [
            {
                "name": f"{flavour}{'-pull' if pull else ''}",
                "type": "openload",
                "flavour": flavour,
                "base_url": host + prefix,
                "login": LOGIN,
                "key": SECRET,
                "base_path": f"saved/{flavour}",
                "pull": pull,
            }
            for flavour, prefix in PREFIXES.items()
            for pull in (False, True)
        ]
        local = {"name": STORAGE, "type": "local", "base_path": str(self.storage_dir)}
        key = {"name": "tape", "user_id": OTHER_USER, "secret": SECRET, "scopes": ["compat"]}
        super().write_config(
            api={"keys": [key]},
            compat={"openload": {"enable": True}},
            users=[{"id": USER_ID}, {"id": OTHER_USER, "storages": [STORAGE]}],
            storages=[local, *tapes],
            **more,
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Looped(tmp_path_factory.mktemp("stack"), workers=2) as stack:
        yield stack


@pytest.fixture(params=list(PREFIXES))
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def api(running: Stack, flavour: str) -> Api:
    return Api(running, Login(LOGIN, SECRET, f"{running.url}/compat/openload"), PREFIXES[flavour])


async def contents(api: Api, *path: str) -> dict[str, str]:
    """Names and ids of the files in a folder."""
    listed = await api.call("file/listfolder")
    for name in path:
        [id_] = [each["id"] for each in listed["folders"] if each["name"] == name]
        listed = await api.call("file/listfolder", folder=id_)
    files = listed["files"]
    listed_files = files.values() if isinstance(files, dict) else files
    return {file["name"]: file.get("linkid") or file["linkextid"] for file in listed_files}


async def save(stack: Stack, link: str, storage: str, **fields: Any) -> dict[str, Any]:
    task_id = (await stack.add(link, storage_name=storage, **fields))["task_id"]
    task = await stack.ended(task_id)
    assert task["status"] == "completed", task
    return task


@pytest.mark.parametrize("link", [PDF, BIG], ids=["small", "64 MiB"])
async def test_a_file_arrives_as_it_was_sent(running: Stack, api: Api, flavour: str, link: str) -> None:
    task = await save(running, link, flavour, dir_path="of telegram")
    files = await contents(api, "saved", flavour, "of telegram")
    name = Path(task["items"][0]["path"]).name
    data = await api.read(files[name])
    assert hashlib.sha256(data).hexdigest() == task["items"][0]["sha256"]
    assert all(not name.startswith(".") for name in files)


async def test_a_file_is_replaced(running: Stack, api: Api, flavour: str) -> None:
    async with serve() as web:
        for content in (b"first", b"second"):
            web.pages["/same.txt"] = Page(content)
            body = {
                "type": "directlinks",
                "params": {"urls": [web.url("/same.txt")]},
                "user_id": USER_ID,
                "storage": flavour,
                "path": "replaced",
                "on_conflict": "overwrite",
            }
            reply = await running.client.post("/api/v1/tasks", json=body)
            assert reply.status_code == 201, reply.text
            assert (await running.ended(reply.json()["task_id"]))["status"] == "completed"
    files = await contents(api, "saved", flavour, "replaced")
    assert list(files) == ["same.txt"]
    assert await api.read(files["same.txt"]) == b"second"


async def test_a_file_is_pulled(running: Stack, api: Api, flavour: str) -> None:
    async with serve() as web:
        web.pages["/pulled.bin"] = Page(b"pulled" * 10_000)
        body = {
            "type": "directlinks",
            "params": {"urls": [web.url("/pulled.bin")]},
            "user_id": USER_ID,
            "storage": f"{flavour}-pull",
            "path": "pulled",
        }
        reply = await running.client.post("/api/v1/tasks", json=body)
        assert reply.status_code == 201, reply.text
        task = await running.ended(reply.json()["task_id"])
    assert task["status"] == "completed", task
    files = await contents(api, "saved", flavour, "pulled")
    assert list(files) == ["pulled.bin"]
    assert await api.read(files["pulled.bin"]) == b"pulled" * 10_000
