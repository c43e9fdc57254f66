"""The sample replies of the seeds: ours have the same fields, of the same types, in the same states."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.compat import samples
from tests.acceptance.compat.conftest import Api, Login
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import Stack
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW = "https://t.me/channel/128"


@pytest.fixture(params=["streamtape", "pstream"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def api(running: Stack, login: Login, dialect: str) -> Api:
    return Api(running, login, "/v1" if dialect == "pstream" else "")


@pytest.fixture
def wanted(dialect: str) -> dict[str, Any]:
    return samples.pstream() if dialect == "pstream" else samples.streamtape()


@pytest_asyncio.fixture(loop_scope="module")
async def replies(api: Api, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    """The replies to all calls of which the seed has a sample."""
    film = make_video(tmp_path_factory.mktemp("video") / "film.mp4")
    async with serve() as web:
        web.pages["/film.mp4"] = Page(b"film" * 1000)
        yield {**await files_and_folders(api, film), **await remote_uploads(api, web.url("/film.mp4"))}


async def files_and_folders(api: Api, film: bytes) -> dict[str, Any]:
    made = await api.reply("file/createfolder", name="My Great Folder")
    folder = made["result"]["folderid"]
    await api.reply("file/createfolder", name="Inside", pid=folder)
    file = (await api.upload(film, "film.mp4", folder=folder))["id"]
    lost = await lose(api, (await api.upload(b"lost", "lost.mp4"))["id"])
    described = ",".join([file, lost, "unknown"] if api.base.endswith("v1") else [file])
    found = {
        "account/info": await api.reply("account/info"),
        "file/info": await api.reply("file/info", file=described),
        "file/ul": await api.reply("file/ul"),
        "file/dlticket": await api.reply("file/dlticket", file=file),
        "file/getsplash": await api.reply("file/getsplash", file=file),
        "file/listfolder": await api.reply("file/listfolder", folder=folder),
        "file/createfolder": made,
        "file/renamefolder": await api.reply("file/renamefolder", folder=folder, name="Other Folder"),
        "file/rename": await api.reply("file/rename", file=file, name="other.mp4"),
        "file/move": await api.reply("file/move", file=file, folder="0"),
    }
    ticket = found["file/dlticket"]["result"]["ticket"]
    found["file/dl"] = await api.reply("file/dl", file=file, ticket=ticket)
    found["file/delete"] = await api.reply("file/delete", file=file)
    found["file/deletefolder"] = await api.reply("file/deletefolder", folder=folder)
    return found


async def lose(api: Api, file: str) -> str:
    """Delete the copy of a file behind the back of SaveAny, which notices when it is read."""
    stack = api.stack
    path = (await stack.client.get(f"/api/v1/files/{file}")).json()["path"]
    (stack.storage_dir / path).unlink()
    ticket = (await api.call("file/dlticket", file=file))["ticket"]
    url = (await api.call("file/dl", file=file, ticket=ticket))["url"]
    assert (await stack.client.get(url)).status_code == 404
    return file


async def remote_uploads(api: Api, url: str) -> dict[str, Any]:
    """With remote uploads in all states, each of which the sample has."""
    stack = api.stack
    stack.sandbox.faults.add("total_rate=500000,file=1006")
    finished = (await api.call("remotedl/add", url=url))["id"]
    refused = (await api.call("remotedl/add", url="http://10.0.0.1/"))["id"]
    running = (await api.call("remotedl/add", url=SLOW))["id"]

    async def all_there() -> bool:
        found = await api.call("remotedl/status", limit=100)
        states = {found[id_]["status"] for id_ in (finished, refused, running) if id_ in found}
        return states == {"finished", "error", "downloading"}

    await until(all_there, what="a remote upload in each state")
    await stack.request("POST", "/queue/pause")
    added = await api.reply("remotedl/add", url=url)
    found = {"remotedl/add": added, "remotedl/status": await api.reply("remotedl/status", limit=100)}
    if not api.base.endswith("v1"):  # the sample of Streamtape has only a new one
        found["remotedl/status"] = await api.reply("remotedl/status", id=added["result"]["id"])
    found["remotedl/remove"] = await api.reply("remotedl/remove", id="all")
    await stack.request("POST", "/queue/resume")
    return found


async def test_replies_have_the_form_of_the_samples(wanted: dict[str, Any], replies: dict[str, Any]) -> None:
    assert set(wanted) - set(replies) <= {"file/converts"}  # which needs [convert]: test_conversions
    for call in set(wanted) & set(replies):
        assert replies[call]["status"] == 200, (call, replies[call])
        assert samples.shape(replies[call]) == samples.shape(wanted[call]), call
