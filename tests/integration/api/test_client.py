"""The Python client against the real server of the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from saveany.api.server import ApiServer
from saveany.client import ApiError, AsyncClient, Client
from saveany.client.tasks_requests import create_task, get_task, list_history, list_tasks
from saveany.models import Status
from saveany.store import Store
from tests.integration.api.conftest import TOKEN, USER, claim, url_of

LINK = "https://t.me/channel/123"


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url_of(server), TOKEN) as client:
        yield client


async def add(client: AsyncClient) -> str:
    return (await client.send(create_task({"url": LINK, "user_id": USER})))["task_id"]


async def test_a_task_is_waited_for_and_its_events_are_followed(client: AsyncClient, store: Store) -> None:
    task_id = await add(client)
    seen: list[str] = []

    async def follow() -> None:
        async for event in client.events(task_id):
            seen.append(event.data["status"])

    following, waiting = asyncio.create_task(follow()), asyncio.create_task(client.wait(task_id))
    await (await claim(store)).finish(Status.FAILED, "no luck")
    assert (await waiting)["error"] == "no luck"
    await following
    assert seen[-1] == "failed"


async def test_who_does_not_want_to_wait_so_long_gets_an_error(client: AsyncClient) -> None:
    with pytest.raises(TimeoutError):
        await client.wait(await add(client), timeout=0.05)


async def test_all_pages_are_read(client: AsyncClient) -> None:
    ids = [await add(client) for _ in range(3)]
    pages = [page async for page in client.pages(list_tasks(limit=2))]
    assert [task["task_id"] for page in pages for task in page["tasks"]] == ids
    assert len(pages) == 2


async def test_errors_have_the_message_of_the_api(client: AsyncClient, server: ApiServer) -> None:
    with pytest.raises(ApiError, match="there is no task") as refused:
        await client.send(get_task("nothing"))
    assert refused.value.status == 404
    async with AsyncClient("http://127.0.0.1:1", TOKEN) as nobody:
        with pytest.raises(ApiError, match="no server replies at http") as silent:
            await nobody.send(list_history())
    assert silent.value.status == 0
    async with AsyncClient(url_of(server), "wröng") as stranger:
        with pytest.raises(ApiError) as unknown:
            await anext(stranger.events())
    assert unknown.value.status == 401


async def test_the_synchronous_client_does_the_same(server: ApiServer, store: Store, tmp_path: Path) -> None:
    def work() -> tuple[str, str, list[str], str]:
        with Client(url_of(server), TOKEN) as client:
            made = client.send(create_task({"url": LINK, "user_id": USER}))
            with pytest.raises(TimeoutError):
                client.wait(made["task_id"], timeout=0.05)
            loop.call_soon_threadsafe(started.set)
            task = client.wait(made["task_id"])
            types = [event.type for event in client.events(made["task_id"])]
            file = tmp_path / "a.txt"
            file.write_bytes(b"content")
            return task["status"], made["task_id"], types, client.upload(file, user_id=USER)["type"]

    started, loop = asyncio.Event(), asyncio.get_running_loop()
    working = asyncio.create_task(asyncio.to_thread(work))
    await started.wait()
    await (await claim(store)).finish(Status.CANCELED)
    status, _, types, kind = await working
    assert status == "canceled"
    assert types == ["snapshot"]
    assert kind == "upload"


def test_every_operation_of_the_api_has_a_request() -> None:
    import importlib
    import re

    root = Path(__file__).parents[3]
    api = json.loads((root / "docs/reference/openapi.json").read_text())
    for item in api["paths"].values():
        for operation in item.values():
            content = next(iter(operation["responses"].values())).get("content", {})
            if "text/event-stream" in content:
                continue
            module = importlib.import_module(f"saveany.client.{operation['tags'][0]}_requests")
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation["operationId"]).lower()
            assert callable(getattr(module, name)), name


def test_what_is_generated_is_up_to_date(tmp_path: Path) -> None:
    import importlib.util

    root = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location("make_client", root / "scripts/make_client.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    for file in tmp_path.glob("*.py"):
        assert file.read_text() == (root / "saveany/client" / file.name).read_text(), "run `make docs`"
    assert len(list(tmp_path.glob("*.py"))) > 5


async def test_downloads_continue_and_are_verified(tmp_path: Path) -> None:
    """A server that breaks the connection in the middle, and one that sends something else."""
    content = bytes(range(256)) * 400
    from hashlib import sha256

    file = {"file_id": "f", "name": "a.bin", "size": len(content), "sha256": sha256(content).hexdigest()}
    ranges: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/content"):
            return httpx.Response(200, json=file)
        ranges.append(request.headers.get("range", ""))
        if len(ranges) == 1:
            return httpx.Response(200, content=content[:1000])  # it is cut short
        start = int(ranges[-1].removeprefix("bytes=").removesuffix("-"))
        return httpx.Response(206, content=content[start:])

    client = AsyncClient("http://api", TOKEN)
    client._http = httpx.AsyncClient(transport=httpx.MockTransport(reply), base_url="http://api")
    target = await client.download("f", tmp_path)
    assert target == tmp_path / "a.bin"
    assert target.read_bytes() == content
    assert ranges == ["", "bytes=1000-"]
    assert not list(tmp_path.glob("*.part"))
    content = content[:-1] + b"x"
    ranges.clear()
    with pytest.raises(ApiError, match="SHA-256"):
        await client.download("f", tmp_path / "b.bin")
    assert not list(tmp_path.glob("b*"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saveany.client.download.pause", lambda _: 0.0)


def downloading(file: dict[str, object], content: Callable[[int], httpx.Response]) -> Client:
    """A client of a server with one file; `content` replies to a request for what follows a byte."""

    def reply(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/content"):
            return httpx.Response(200, json={"file_id": "f", "sha256": "", **file})
        start = request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        return content(int(start))

    client = Client("http://api", TOKEN)
    client._http = httpx.Client(transport=httpx.MockTransport(reply), base_url="http://api")
    return client


@pytest.mark.parametrize(
    ("name", "saved"),
    [("../../b.bin", "b.bin"), ("/etc/b.bin", "b.bin"), ("..\\b.bin", "b.bin"), ("..", "file"), ("", "file")],
)
def test_a_file_is_downloaded_into_the_folder_whatever_the_server_calls_it(
    tmp_path: Path, name: str, saved: str
) -> None:
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    client = downloading({"name": name, "size": 1}, lambda _: httpx.Response(200, content=b"x"))
    assert client.download("f", folder) == folder / saved
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [folder / saved]


def test_a_download_goes_on_as_long_as_anything_arrives(tmp_path: Path, impatient: None) -> None:
    content = bytes(range(60))

    def three_bytes(start: int) -> httpx.Response:
        return httpx.Response(206 if start else 200, content=content[start : start + 3])

    client = downloading({"name": "a.bin", "size": 60}, three_bytes)
    assert client.download("f", tmp_path).read_bytes() == content


def test_a_download_that_does_not_get_on_ends(tmp_path: Path, impatient: None) -> None:
    client = downloading({"name": "a.bin", "size": 60}, lambda _: httpx.Response(200, content=b"xyz"))
    with pytest.raises(ApiError, match="ends too early"):
        client.download("f", tmp_path)


def test_another_file_of_the_same_name_is_not_continued(tmp_path: Path, impatient: None) -> None:
    def never(start: int) -> httpx.Response:
        return httpx.Response(200, content=b"xyz") if not start else httpx.Response(416)

    with pytest.raises(ApiError):
        downloading({"name": "a.bin", "size": 6, "file_id": "one"}, never).download("one", tmp_path)
    other = downloading(
        {"name": "a.bin", "size": 6, "file_id": "two"}, lambda n: httpx.Response(200, content=b"123456"[n:])
    )
    assert other.download("two", tmp_path).read_bytes() == b"123456"


def test_the_body_of_a_request_is_not_shown() -> None:
    assert "hunter2" not in repr(create_task({"url": "https://me:hunter2@example.com/x", "user_id": USER}))
