"""`POST /api/v1/resolve` and `on_duplicate` with a running SaveAny."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from saveany.models import Rule
from saveany.preferences import Preferences
from saveany.store import open_store
from tests.fixtures import site
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.fixtures.stack import USER_ID, Stack
from tests.fixtures.waiting import until
from tests.integration.sources.aria2_tools import metalink
from tests.integration.sources.programs import PAGE, VIDEO

pytestmark = pytest.mark.asyncio(loop_scope="module")

PDF = "https://t.me/channel/123"
#: A file that no other test here saves.
ONE_MIB = "https://t.me/channel/125"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    storages = [
        {"name": f"local{n}", "type": "local", "base_path": str(folder / name)}
        for n, name in ((1, "files"), (2, "more"))
    ]
    tables = {"retry": 1, "storages": storages, "aria2": {"enable": True, "dht": False}}
    async with Stack(folder, tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def web() -> AsyncIterator[Site]:
    async with site.serve() as web:
        yield web


async def resolve(stack: Stack, **body: Any) -> dict[str, Any]:
    reply = await stack.client.post("/api/v1/resolve", json={"user_id": USER_ID, **body})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    assert (await stack.client.get("/api/v1/tasks")).json()["total"] == 0
    return found


async def refused(stack: Stack, status: int, **body: Any) -> str:
    reply = await stack.client.post("/api/v1/resolve", json={"user_id": USER_ID, **body})
    assert reply.status_code == status, reply.text
    return str(reply.json()["message"])


async def saved(stack: Stack, link: str, **more: Any) -> dict[str, Any]:
    """A task that has ended, and is recorded: on a busy machine that may take more than a second."""
    task = await stack.ended((await stack.add(link, **more))["task_id"])
    store = await open_store(stack.redis.start())

    async def is_recorded() -> bool:
        return not await store.recording.last_id()

    await until(is_recorded)
    await store.db.close()
    return task


async def test_what_resolves_is_what_is_saved(stack: Stack) -> None:
    found = await resolve(stack, telegram_url=PDF, dir_path="/papers")
    assert (found["type"], found["storage"], found["path"]) == ("tgfiles", "local1", "/papers")
    (file,) = found["files"]
    assert (file["name"], file["path"], file["mime_type"]) == (
        "file.pdf",
        "papers/file.pdf",
        "application/pdf",
    )
    assert (file["type"], file["duplicate"]) == ("other", None)
    assert (found["total_files"], found["total_bytes"]) == (1, file["size"])
    task = await saved(stack, PDF, dir_path="/papers")
    (item,) = task["items"]
    assert (item["path"], item["size"]) == (file["path"], file["size"])
    (again,) = (await resolve(stack, telegram_url=PDF))["files"]
    assert (again["duplicate"]["name"], again["duplicate"]["path"]) == ("file.pdf", "papers/file.pdf")
    printed = json.loads((await stack.saveany("resolve", PDF, "--json")).out)
    assert printed["files"] == [again]
    shown = await stack.saveany("resolve", PDF, "--dir", "x")
    assert "local1:/x/file.pdf" in shown.out
    assert again["duplicate"]["file_id"] in shown.out


async def test_templates_and_rules_apply(stack: Stack) -> None:
    store = await open_store(stack.redis.start())
    rule = Rule(name=r"\.pdf$", storage="local2", folder="docs")

    def change(before: Preferences) -> Preferences:
        return replace(before, template="mine_{{ name }}", rules=(rule,))

    await store.preferences.change(USER_ID, change)

    async def apply() -> bool:  # preferences are read once a second
        (file,) = (await resolve(stack, telegram_url=PDF))["files"]
        return (file["storage"], file["path"]) == ("local2", "docs/mine_file.pdf")

    await until(apply)
    await store.preferences.change(USER_ID, lambda _: Preferences())
    await until(lambda: _is_plain(stack))
    await store.db.close()


async def _is_plain(stack: Stack) -> bool:
    (file,) = (await resolve(stack, telegram_url=PDF))["files"]
    return bool(file["storage"] == "local1")


async def test_web_files_and_other_storages_resolve(stack: Stack, web: Site) -> None:
    web.pages["/a.bin"] = Page(b"hello", headers={"Content-Disposition": 'attachment; filename="b.txt"'})
    (file,) = (await resolve(stack, url=web.url("/a.bin"), dir_path="x"))["files"]
    assert (file["path"], file["size"], file["type"]) == ("x/b.txt", 5, "text")
    (missing,) = (await resolve(stack, url=web.url("/missing.bin")))["files"]
    assert "404" in missing["error"]
    (stack.folder / "more" / "in").mkdir(parents=True, exist_ok=True)
    (stack.folder / "more" / "in" / "c.txt").write_bytes(b"text")
    params = {"source_storage": "local2", "source_path": "in", "target_storage": "local1"}
    body = {"type": "transfer", "params": params, "storage": "local1"}
    (moved,) = (await resolve(stack, **body))["files"]
    assert (moved["storage"], moved["path"], moved["size"]) == ("local1", "c.txt", 4)


async def test_links_that_other_programs_read_resolve(stack: Stack, web: Site) -> None:
    """The real yt-dlp, gallery-dl and aria2 say what they would save."""
    for each in ("yt-dlp", "gallery-dl", "aria2c"):
        program(each)
    html = {"Content-Type": "text/html"}
    web.pages |= {"/film": Page(PAGE % b"", headers=html), "/a.mp4": Page(VIDEO), "/1.jpg": Page(b"1")}
    web.pages |= {"/both.meta4": metalink(("a.iso", web.url("/a.iso"), ""), ("b.iso", web.url("/b.iso"), ""))}

    async def names(kind: str, **params: Any) -> list[str]:
        found = await resolve(stack, type=kind, params=params, storage="local1", path="x")
        return [each["path"] for each in found["files"]]

    assert await names("ytdlp", urls=[web.url("/film")]) == ["x/My_ film_one (1)"]
    assert await names("parseditem", url=web.url("/1.jpg")) == ["x/1.jpg"]
    assert await names("aria2", urls=[web.url("/c/d.iso")]) == ["x/d.iso"]
    assert await names("aria2", urls=[web.url("/both.meta4")]) == ["x/a.iso", "x/b.iso"]


async def test_what_cannot_be_saved_is_refused(stack: Stack) -> None:
    assert await refused(stack, 404, telegram_url="https://t.me/channel/9999")
    assert await refused(stack, 400, url="gopher://example.com/x")
    assert await refused(stack, 404, telegram_url=PDF, storage_name="nothing")
    assert await refused(stack, 403, telegram_url=PDF, user_id=1)
    params = {"source_storage": "local2", "source_path": "nothing", "target_storage": "local1"}
    assert "nothing" in await refused(stack, 404, type="transfer", params=params, storage="local1")


async def test_duplicates_are_skipped_or_get_the_same_copy(stack: Stack) -> None:
    first = await saved(stack, ONE_MIB, dir_path="/first")
    before = stack.sandbox.counters.bytes()
    skipped = await saved(stack, ONE_MIB, dir_path="/second", on_duplicate="skip")
    linked = await saved(stack, ONE_MIB, dir_path="/third", on_duplicate="link")
    assert stack.sandbox.counters.bytes() == before, "nothing was downloaded"
    (item,) = skipped["items"]
    assert (skipped["status"], item["status"]) == ("completed", "skipped")
    files = (await stack.client.get("/api/v1/files", params={"limit": 200, "sort": "added"})).json()["files"]
    same = [file for file in files if file["sha256"] == first["items"][0]["sha256"]]
    assert item["duplicate"]["file_id"] == same[0]["file_id"]
    (copy,) = linked["items"]
    assert (copy["status"], copy["path"]) == ("completed", same[0]["path"])
    (last,) = [file for file in files if file["task_id"] == linked["task_id"]]
    assert (last["folder"], last["path"], last["storage"]) == ("/third", same[0]["path"], "local1")
    assert not (stack.storage_dir / "second").exists()
    assert not (stack.storage_dir / "third").exists()
