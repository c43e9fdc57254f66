"""Complete tasks of every kind of source, saved in several kinds of storages."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from saveany.sandbox import samples
from saveany.sandbox.content import sha256
from saveany.sandbox.world import Chat, StoredMessage
from tests.fixtures import s3, site
from tests.fixtures.openload import OpenloadServer, openload
from tests.fixtures.s3 import S3Server
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.fixtures.stack import Stack
from tests.fixtures.tables import table
from tests.fixtures.waiting import until

PDF, SLOW = "https://t.me/channel/123", "https://t.me/channel/128"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.rclone(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def host() -> Iterator[OpenloadServer]:
    with openload(pstream=False) as server:
        yield server


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with site.serve() as web:
        yield web


@pytest.fixture
async def stack(tmp_path: Path, server: S3Server) -> AsyncIterator[Stack]:
    bucket = server.options(server.bucket()).model_dump(mode="json")
    bucket["secret_access_key"] = s3.SECRET
    del bucket["session_token"]
    tables = {
        "retry": 1,
        "aria2": {"enable": True, "dht": False},
        "storages": [
            {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")},
            {"name": "local2", "type": "local", "base_path": str(tmp_path / "more")},
            bucket,
            {"name": "chat", "type": "telegram", "chat_id": "@inbox", "rate_limit": 0},
        ],
    }
    stack = Stack(tmp_path, tables=tables)
    members = {samples.BOT.id, samples.USER.id}
    stack.sandbox.world.add_chat(Chat(id=1600000005, title="In", username="inbox", members=members))
    async with stack:
        yield stack


async def typed(stack: Stack, type_: str, storage: str = "local1", **params: Any) -> str:
    body = {"type": type_, "storage": storage, "path": "in", "params": params}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["task_id"])


async def test_a_file_host_downloads_public_urls_itself(
    tmp_path: Path, web: Site, host: OpenloadServer
) -> None:
    body = os.urandom(MIB)
    web.pages["/open.bin"] = web.pages["/secret.bin"] = web.pages["/unseen.bin"] = Page(body)
    host.web[web.url("/open.bin")] = host.web[web.url("/secret.bin")] = body
    tables = {"storages": [table(host.options("in", name="host", pull=True))]}
    async with Stack(tmp_path, tables=tables) as stack:
        for name, headers, hashed in (
            ("open", {}, ""),
            ("unseen", {}, hashlib.sha256(body).hexdigest()),  # the host cannot, so we do
            ("secret", {"Cookie": "a=b"}, hashlib.sha256(body).hexdigest()),
        ):
            urls = [web.url(f"/{name}.bin")]
            task = await stack.ended(await typed(stack, "directlinks", "host", urls=urls, headers=headers))
            assert task["status"] == "completed", task["error"]
            assert task["items"][0].get("sha256", "") == hashed
            assert host.content(f"/in/in/{name}.bin") == body
    assert [pull.url for pull in host.pulls.values()] == [web.url("/open.bin")]


async def test_three_bad_urls_of_a_hundred_fail_alone(stack: Stack, web: Site) -> None:
    bad = {7, 50, 99}
    for number in range(100):
        if number not in bad:
            web.pages[f"/{number}.bin"] = Page(b"%d" % number)
    task_id = await typed(stack, "directlinks", urls=[web.url(f"/{number}.bin") for number in range(100)])
    task = await stack.ended(task_id)
    assert task["status"] == "failed"
    assert "3 of 100 files failed" in task["error"]
    assert len(stack.files()) == 97 + 1  # and the mark of the disk

    for number in bad:
        web.pages[f"/{number}.bin"] = Page(b"%d" % number)
    web.asked.clear()
    assert (await stack.client.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 202
    task = await stack.ended(task_id)
    assert (task["status"], task["error"]) == ("completed", "")
    assert {path for path, _ in web.asked} == {f"/{number}.bin" for number in bad}
    for number in range(100):
        assert (stack.storage_dir / "in" / f"{number}.bin").read_bytes() == b"%d" % number


async def test_each_url_is_saved_by_its_source(stack: Stack, web: Site) -> None:
    web.pages["/a.bin"] = Page(b"hello", headers={"Content-Disposition": 'attachment; filename="b.txt"'})
    body = {"url": web.url("/a.bin"), "user_id": 123456789, "dir_path": "/x"}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    assert reply.json()["type"] == "directlinks"
    task = await stack.ended(reply.json()["task_id"])
    assert [(item["path"], item["sha256"]) for item in task["items"]] == [
        ("x/b.txt", hashlib.sha256(b"hello").hexdigest())
    ]
    assert task["title"] == "[directlinks](a.bin->local1:/x/a.bin)"


async def test_an_article_is_saved(stack: Stack, web: Site) -> None:
    web.pages["/Title-01-31"] = Page(b'<p><img src="/file/x.png"><img src="/file/y.jpg"></p>')
    web.pages["/file/x.png"], web.pages["/file/y.jpg"] = Page(b"x"), Page(b"y")
    task = await stack.ended(await typed(stack, "tphpics", telegraph_url=web.url("/Title-01-31")))
    assert [item["path"] for item in task["items"]] == ["in/Title-01-31/01.png", "in/Title-01-31/02.jpg"]
    assert task["status"] == "completed"


async def test_a_file_is_transferred_to_a_bucket_and_back(stack: Stack, server: S3Server) -> None:
    task = await stack.ended((await stack.add(PDF, storage_name="bucket", dir_path="/docs"))["task_id"])
    assert (task["status"], task["error"]) == ("completed", "")
    (item,) = task["items"]
    back = await typed(
        stack,
        "transfer",
        source_storage="bucket",
        source_path="/docs",
        target_storage="local2",
        target_path="b",
    )
    task = await stack.ended(back)
    assert (task["status"], task["error"]) == ("completed", "")
    assert task["items"][0]["sha256"] == item["sha256"]
    assert (stack.folder / "more" / "b" / item["name"]).stat().st_size == item["size"]


async def test_an_upload_to_a_bucket_survives_a_crash(stack: Stack, server: S3Server) -> None:
    task_id = (await stack.add(SLOW, storage_name="bucket", dir_path="/big"))["task_id"]
    await stack.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] >= 16 * MIB)
    await stack.kill(stack.workers[0])
    await stack.start_worker()
    task = await stack.ended(task_id, 120)
    assert (task["status"], task["error"]) == ("completed", "")
    (item,) = task["items"]
    bucket = next(each["bucket_name"] for each in stack._tables["storages"] if each["type"] == "s3")
    body = server.client.get_object(Bucket=bucket, Key=f"base/{item['path']}")["Body"]
    found = await asyncio.to_thread(lambda: hashlib.sha256(body.read()).hexdigest())
    sample = next(each for each in stack.sandbox.samples if each.link == SLOW)
    assert found == sample.files[0].sha256
    assert server.everything(bucket)() == {item["path"]}


async def test_a_filtered_range_of_messages_is_saved(stack: Stack) -> None:
    wanted = {"name": r"\.pdf$|harbour", "max_size": 1 << 20, "kinds": ["document", "photo"]}
    links = ["https://t.me/channel/123-144"]
    task = await stack.ended(await typed(stack, "tgfiles", message_links=links, filter=wanted))
    assert task["status"] == "completed", task
    paths = [item["path"] for item in task["items"]]
    assert paths[0] == "in/file.pdf"
    assert len(paths) == 1 + 4  # and the album with these words


async def test_invalid_filters_are_refused(stack: Stack) -> None:
    params = {"message_links": ["https://t.me/channel/1-2"], "filter": {"name": "("}}
    body = {"type": "tgfiles", "storage": "local1", "params": params}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 400
    assert "RE2" in reply.json()["message"]
    params["filter"] = {"kinds": ["sticker"], "min_size": 1 << 40}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    task = await stack.ended(reply.json()["task_id"])
    assert task["status"] == "failed"
    assert "none of the 2 files passes the filter" in task["error"] or "has a file" in task["error"]


async def test_files_of_programs_are_saved_in_a_bucket(stack: Stack, web: Site) -> None:
    """Each goes through this machine's disk, where nothing is left of it."""
    program("yt-dlp")
    program("gallery-dl")
    program("aria2c")
    web.pages |= {"/film.mp4": Page(b"film" * 9999), "/x/a.bin": Page(b"file" * 9999), "/p.jpg": Page(b"jpg")}
    tasks = [
        await typed(stack, "ytdlp", "bucket", urls=[web.url("/film.mp4")]),
        await typed(stack, "aria2", "bucket", urls=[web.url("/x/a.bin")]),
        await typed(stack, "parseditem", "bucket", url=web.url("/p.jpg")),
    ]
    ended = [await stack.ended(task) for task in tasks]
    found = [(task["error"], [(item["path"], item["size"]) for item in task["items"]]) for task in ended]
    assert found == [("", [("in/film.mp4", 39996)]), ("", [("in/a.bin", 39996)]), ("", [("in/p.jpg", 3)])]
    assert all(item["sha256"] for task in ended for item in task["items"])
    await until(lambda: left_over(stack.data_dir, 39996, 3) == [])  # removed after the task has ended


def left_over(folder: Path, *sizes: int) -> list[Path]:
    """The files of these sizes; they may be removed meanwhile."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size in sizes:
                found.append(path)
    return found


#: What each source of the web needs to fetch the file behind a URL.
WEB: dict[str, Callable[[str], dict[str, Any]]] = {
    "directlinks": lambda url: {"urls": [url]},
    "ytdlp": lambda url: {"urls": [url]},
    "aria2": lambda url: {"urls": [url]},
    "parseditem": lambda url: {"url": url},
    "tphpics": lambda url: {"telegraph_url": f"{url}.html"},
}
#: Those among them that go through this machine's disk.
PROGRAMS = ("ytdlp", "aria2")
FILM = b"film" * 5_000_000


def a_film_each(web: Site, **fault: Any) -> dict[str, Page]:
    """A file for each source; returns the pages, whose faults a test can remove."""
    pages = {type_: Page(FILM, **fault) for type_ in WEB}
    for type_, page in pages.items():
        web.pages[f"/{type_}.mp4"] = page
        web.pages[f"/{type_}.mp4.html"] = Page(f'<img src="/{type_}.mp4">'.encode())
    return pages


async def a_task_each(stack: Stack, web: Site) -> dict[str, str]:
    for name in ("yt-dlp", "gallery-dl", "aria2c"):
        program(name)
    return {
        type_: await typed(stack, type_, **params(web.url(f"/{type_}.mp4"))) for type_, params in WEB.items()
    }


def saved(stack: Stack) -> dict[str, bytes]:
    """What was saved, by the name of its folder, or of the file."""
    found = (path for path in (stack.storage_dir / "in").rglob("*") if path.is_file())
    return {str(path.relative_to(stack.storage_dir / "in")): path.read_bytes() for path in found}


FILMS = {
    "aria2.mp4": FILM,
    "directlinks.mp4": FILM,
    "parseditem.mp4": FILM,
    "tphpics.mp4.html/01.mp4": FILM,
    "ytdlp.mp4": FILM,
}


async def test_canceled_tasks_can_be_retried(stack: Stack, web: Site) -> None:
    pages = a_film_each(web, hold_after=1_000_000, ranges=False)
    tasks = await a_task_each(stack, web)
    for type_, task_id in tasks.items():
        await web.asked_for(f"/{type_}.mp4")
        await stack.wait(task_id, lambda task: task["status"] == "running")
        assert (await stack.client.delete(f"/api/v1/tasks/{task_id}")).status_code in (200, 202, 204)
    for task_id in tasks.values():
        assert (await stack.ended(task_id))["status"] == "canceled"
    await web.idle()  # so no program is left that asks
    assert saved(stack) == {}
    for page in pages.values():
        page.hold_after = None
    for task_id in tasks.values():
        assert (await stack.client.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 202
    ended = {type_: await stack.ended(task_id, 60) for type_, task_id in tasks.items()}
    assert {type_: task["error"] for type_, task in ended.items()} == dict.fromkeys(WEB, "")
    assert saved(stack) == FILMS


async def test_paused_programs_continue_where_they_stopped(stack: Stack, web: Site) -> None:
    pages = a_film_each(web, hold_after=7_000_000, headers={"ETag": '"1"'})
    tasks = {type_: await typed(stack, type_, **WEB[type_](web.url(f"/{type_}.mp4"))) for type_ in PROGRAMS}
    for task_id in tasks.values():
        await stack.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] > 1_000_000)
        assert (await stack.client.post(f"/api/v1/tasks/{task_id}/pause")).is_success
        await stack.wait(task_id, lambda task: task["stage"] == "paused")
    for type_, task_id in tasks.items():
        pages[type_].hold_after = None
        web.asked.clear()
        assert (await stack.client.post(f"/api/v1/tasks/{task_id}/resume")).is_success
        assert (await stack.ended(task_id))["error"] == ""
        assert {headers.get("range", "bytes=0-") for _, headers in web.asked} - {"bytes=0-"}, type_
        assert saved(stack)[f"{type_}.mp4"] == FILM


async def test_outages_of_servers_are_retried(stack: Stack, web: Site) -> None:
    a_film_each(web, cut_after=7_000_000, cuts=1, headers={"ETag": '"1"'})
    tasks = await a_task_each(stack, web)
    ended = {type_: await stack.ended(task_id, 60) for type_, task_id in tasks.items()}
    assert {type_: task["error"] for type_, task in ended.items()} == dict.fromkeys(WEB, "")
    assert saved(stack) == FILMS


async def test_leftovers_of_a_killed_worker_are_removed(stack: Stack, web: Site) -> None:
    web.pages["/a"] = Page(b"a")
    task_id = await typed(stack, "directlinks", urls=[web.url("/a")])
    await stack.ended(task_id)
    left = [stack.data_dir / folder / task_id / "0" for folder in ("scratch", "aria2")]
    others = [stack.data_dir / "scratch" / "known_hosts" / "s", stack.data_dir / "aria2" / "unknown"]
    for folder in left + others:
        folder.mkdir(parents=True)
        (folder / "media.mp4.part").write_bytes(b"half")
    await stack.start_worker()

    async def gone() -> bool:
        return not any(folder.parent.exists() for folder in left)

    await until(gone)
    assert all(folder.exists() for folder in others)


def sent(stack: Stack) -> list[StoredMessage]:
    chat = stack.sandbox.world.chats[1600000005]
    return [message for message in reversed(chat.newest_first()) if not message.service]


async def test_a_file_is_sent_to_a_chat_and_downloaded_again(stack: Stack) -> None:
    task = await stack.ended((await stack.add(PDF, storage_name="chat", dir_path="/docs"))["task_id"])
    assert (task["status"], task["error"]) == ("completed", "")
    (message,) = sent(stack)
    assert message.text == "file.pdf\ndocs"
    link = f"https://t.me/inbox/{message.id}"
    assert task["items"][0]["url"] == link
    back = await stack.ended((await stack.add(link, storage_name="local1"))["task_id"])
    assert [item["sha256"] for item in back["items"]] == [item["sha256"] for item in task["items"]]


async def test_a_killed_worker_sends_a_file_once(stack: Stack) -> None:
    stack.sandbox.faults.add("delay=0.2,method=upload.saveBigFilePart")
    task_id = (await stack.add(SLOW, storage_name="chat"))["task_id"]

    async def half() -> bool:
        return stack.sandbox.counters.requests(method="upload.saveBigFilePart") > 30

    await until(half)
    for pid in stack.worker_pids():
        os.kill(pid, signal.SIGKILL)
    await stack.start_worker()
    task = await stack.ended(task_id, timeout=120)
    assert (task["status"], task["error"]) == ("completed", "")
    (message,) = sent(stack)
    assert message.file
    assert sha256(message.file.content) == task["items"][0]["sha256"]


@pytest.mark.parametrize("source", ["local1", "local2"])
async def test_a_move_survives_a_killed_worker(stack: Stack, source: str) -> None:
    """Within one storage files get another path, between two they are copied, then removed."""
    origin = stack.folder / ("files" if source == "local1" else "more") / "from"
    for number in range(200):
        path = origin / f"d{number % 3}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 999)
    task_id = await typed(stack, "transfer", source_storage=source, source_path="from", move=True)
    await stack.wait(task_id, lambda task: task["progress"]["done_files"] >= 20)
    await stack.kill(stack.workers[0])
    await stack.start_worker()
    task = await stack.ended(task_id, 120)
    assert (task["status"], task["error"]) == ("completed", "")
    found = {path.name: path.read_bytes() for path in (stack.storage_dir / "in").rglob("*.*")}
    assert found == {f"{number}.bin": b"%d" % number * 999 for number in range(200)}
    assert [path for path in origin.rglob("*") if not path.is_dir()] == []


async def test_a_canceled_article_is_retried(stack: Stack, web: Site) -> None:
    web.pages["/T"] = Page(b'<img src="/a.png"><img src="/b.png">')
    web.pages["/a.png"], web.pages["/b.png"] = Page(b"a"), Page(b"b" * 9999, hold_after=99, ranges=False)
    task_id = await typed(stack, "tphpics", telegraph_url=web.url("/T"))
    await stack.wait(task_id, lambda task: task["progress"]["done_files"] == 1)
    await stack.request("DELETE", f"/tasks/{task_id}")
    assert (await stack.ended(task_id))["status"] == "canceled"
    await web.idle()
    folder = stack.storage_dir / "in" / "T"
    assert [path.name for path in folder.iterdir()] == ["01.png"]
    web.pages["/b.png"].hold_after = None
    web.asked.clear()
    assert (await stack.client.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 202
    assert (await stack.ended(task_id))["status"] == "completed"
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {"01.png": 1, "02.png": 9999}
    assert {path for path, _ in web.asked} == {"/b.png"}
