"""The calls of the API, as its clients make them, without a client in between."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.acceptance.compat.conftest import OTHER_USER, Api, Login, add_key, envelope
from tests.fixtures.servers import program
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import Stack
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATA = os.urandom(1_500_001)
TEXT = b"some text"


@pytest.fixture(params=["", "/1", "/v1"], ids=["streamtape", "openload", "pstream"])
def api(request: pytest.FixtureRequest, running: Stack, login: Login) -> Api:
    return Api(running, login, request.param)


@pytest.fixture
def streamtape(running: Stack, login: Login) -> Api:
    return Api(running, login)


@pytest.fixture
def pstream(running: Stack, login: Login) -> Api:
    return Api(running, login, "/v1")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stranger(running: Stack) -> Api:
    """The API with a key of another user."""
    return Api(running, await add_key(running, OTHER_USER))


async def names(api: Api, folder: Any = "") -> list[str]:
    """The names of the files in a folder."""
    files = (await api.call("file/listfolder", folder=folder))["files"]
    return sorted(file["name"] for file in (files.values() if isinstance(files, dict) else files))


async def folder_named(api: Api, name: str) -> str:
    return str((await api.call("file/createfolder", name=name))["folderid"])


def own(api: Api) -> str:
    """A part of a name that no other dialect has."""
    return api.base.rpartition("/")[2]


def when(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


# Keys.


async def test_only_keys_for_it_are_accepted(api: Api, running: Stack, login: Login) -> None:
    native = (
        await running.client.post("/api/v1/keys", json={"name": "x", "user_id": 42, "scopes": ["files"]})
    ).json()
    for wrong in (
        {"login": login.login, "key": "x"},
        {"login": "x", "key": login.key},
        {"login": login.login},
        {"key": login.key},
        {},
        {"login": native["key_id"], "key": native["secret"]},
        {"login": "", "key": running.token},
        {"login": login.login, "key": running.token},
    ):
        async with httpx.AsyncClient(trust_env=False) as http:
            headers = {"Authorization": f"Bearer {running.token}"}
            reply = envelope(await http.get(f"{api.base}/account/info", params=wrong, headers=headers))
        assert (reply["status"], reply["result"]) == (403, None), wrong


async def test_a_revoked_key_ends_at_once_with_all_that_it_was_given(running: Stack) -> None:
    api = Api(running, await add_key(running))
    file = (await api.upload(TEXT))["id"]
    url = (await api.call("file/ul"))["url"]
    ticket = (await api.call("file/dlticket", file=file))["ticket"]
    await running.request("DELETE", f"/keys/{api.login.login}")
    assert await api.status("account/info") == 403
    assert (await api.send(url, TEXT))["status"] == 403
    assert await api.status("file/dl", file=file, ticket=ticket) == 403


async def test_its_keys_are_for_nothing_else(running: Stack, login: Login) -> None:
    headers = {"Authorization": f"Bearer {login.key}"}
    for path in ("/api/v1/tasks", "/api/v1/files", "/api/v1/keys"):
        assert (await running.client.get(path, headers=headers)).status_code == 403


async def test_what_does_not_exist_is_a_404_in_the_body(api: Api, running: Stack) -> None:
    for call in ("nothing", "", "file", "file/info/more", "ul", "2/file/info"):
        assert await api.status(call) == 404, call
    assert "/compat" not in (await running.client.get("/openapi.json")).text


# Uploads.


async def test_a_file_is_uploaded_once_for_an_address(api: Api, running: Stack) -> None:
    asked = await api.call("file/ul")
    assert timedelta(hours=1) < when(asked["valid_until"]) - datetime.now(UTC) < timedelta(days=2)
    sent = (await api.send(asked["url"], DATA, "räksmörgås 1.mp4", "x.mp4"))["result"]
    assert (sent["name"], sent["size"]) == ("räksmörgås 1.mp4", str(len(DATA)))
    saved = (await running.client.get(f"/api/v1/files/{sent['id']}")).json()
    assert (running.storage_dir / saved["path"]).read_bytes() == DATA
    assert saved["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert await api.read(sent["id"]) == DATA
    assert (await api.send(asked["url"], DATA))["status"] == 404
    await api.call("file/delete", file=sent["id"])


@pytest.mark.parametrize("part", ["file", "files", "file1", "x.mp4"])
async def test_the_name_of_the_part_does_not_matter(streamtape: Api, part: str) -> None:
    url = (await streamtape.call("file/ul"))["url"]
    assert (await streamtape.send(url, TEXT, "part.txt", part))["status"] == 200


async def test_a_file_with_another_hash_is_not_kept(api: Api, running: Stack) -> None:
    before = await names(api), running.files()
    right = {"sha256": hashlib.sha256(TEXT).hexdigest(), "sha1": hashlib.sha1(TEXT).hexdigest()}
    for name, value in right.items():
        url = (await api.call("file/ul", **{name: value}))["url"]
        assert (await api.send(url, TEXT + b"!"))["status"] == 400
        assert (await api.send(url, TEXT))["status"] == 404
    assert (await names(api), running.files()) == before
    assert not list((running.data_dir / "uploads").glob("*[0-9a-v].part"))
    for name, value in right.items():
        assert (await api.upload(TEXT, **{name: value.upper()}))["size"] == "9"
    assert (await api.upload(TEXT, sha256="no hash", sha1="x" * 40))["size"] == "9"


async def test_an_address_that_has_expired_is_unknown(api: Api, running: Stack) -> None:
    url = (await api.call("file/ul"))["url"]
    assert (await api.send(url[:-1] + "~", TEXT))["status"] == 404
    await expire_tickets(running)
    assert (await api.send(url, TEXT))["status"] == 404


async def expire_tickets(running: Stack) -> None:
    from saveany.store import connect

    db = connect(running.redis_url)
    for key in await db.do("KEYS", "sa:ticket:*"):
        await db.do("PEXPIRE", key, 0)
    await db.close()


@pytest.mark.parametrize("headers", [["Transfer-Encoding: chunked"], ["Expect: 100-continue"]])
async def test_curl_uploads(streamtape: Api, tmp_path: Path, headers: list[str]) -> None:
    source = tmp_path / "from curl.bin"
    source.write_bytes(DATA)
    url = (await streamtape.call("file/ul"))["url"]
    words = [program("curl"), "-sS", "--noproxy", "*", "-F", f"file1=@{source}"]
    for header in headers:
        words += ["-H", header]
    process = await asyncio.create_subprocess_exec(*words, url, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    reply = httpx.Response(200, content=out).json()
    assert reply["status"] == 200, reply
    assert await streamtape.read(reply["result"]["id"]) == DATA


async def test_what_is_not_a_form_with_a_file_is_refused(streamtape: Api) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for request in (
            {"content": b"x"},
            {"data": {"a": "b"}},
            {"content": b"--b\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        ):
            url = (await streamtape.call("file/ul"))["url"]
            assert envelope(await http.post(url, **request))["status"] == 400
        assert envelope(await http.get((await streamtape.call("file/ul"))["url"]))["status"] == 400


async def test_the_same_name_twice_is_two_files(api: Api) -> None:
    folder = await folder_named(api, f"twice {own(api)}")
    for content in (b"1", b"2"):
        await api.upload(content, "same.txt", folder=folder)
    assert await names(api, folder) == ["same.txt", "same.txt"]


# Files.


async def test_files_are_described(api: Api) -> None:
    file = (await api.upload(TEXT, "note.txt"))["id"]
    found = await api.call("file/info", file=f"{file},missing")
    assert found[file]["name"] == "note.txt"
    assert (found[file]["size"], found[file]["status"]) == (9, 200)
    assert found["missing"]["status"] == 404
    assert found["missing"]["name"] is False
    assert len(await api.call("file/info", file=",".join([file] + ["x" * n for n in range(1, 50)]))) == 50
    assert await api.status("file/info", file=",".join("x" * n for n in range(1, 52))) == 400
    assert await api.status("file/info") == 400


async def test_a_ticket_is_for_one_file(api: Api, running: Stack) -> None:
    first, second = [(await api.upload(TEXT + name, "t.txt"))["id"] for name in (b"1", b"2")]
    ticket = (await api.call("file/dlticket", file=first))["ticket"]
    assert await api.status("file/dl", file=second, ticket=ticket) == 403
    assert await api.status("file/dl", file=first, ticket="x") == 403
    assert await api.status("file/dl", file=first) == 400
    assert (await api.call("file/dl", file=first, ticket=ticket))["size"] == 10
    await expire_tickets(running)
    assert await api.status("file/dl", file=first, ticket=ticket) == 403


async def test_files_are_renamed_moved_and_deleted(api: Api, running: Stack) -> None:
    file = (await api.upload(DATA, "before.bin"))["id"]
    folder = await folder_named(api, f"target {own(api)}")
    assert await api.call("file/rename", file=file, name="a/../b\x01.bin") is True
    assert await api.call("file/move", file=file, folder=folder) is True
    assert await names(api, folder) == ["a_.._b.bin"]
    assert await api.call("file/move", file=file, folder="0") is True
    assert await names(api, folder) == []
    assert await api.read(file) == DATA
    for call, more in {
        "file/rename": {},
        "file/move": {},
        "file/delete": {"file": ""},
        "file/getsplash": {"file": "None"},
    }.items():
        assert await api.status(call, **{"file": file, **more}) == 400, call
    for name in ("..", " . ", "\x00"):
        assert await api.status("file/rename", file=file, name=name) == 400
    assert await api.status("file/move", file=file, folder="99999") == 404
    assert await api.call("file/delete", file=file) is True
    for call in ("file/delete", "file/rename", "file/dlticket"):
        assert await api.status(call, file=file, name="x") == 404
    assert (await running.client.get("/api/v1/trash")).json()["files"][0]["file_id"] == file


async def test_pictures_are_only_of_videos(streamtape: Api, tmp_path: Path) -> None:
    film = (await streamtape.upload(make_video(tmp_path / "film.mp4"), "film.mp4"))["id"]
    note = (await streamtape.upload(TEXT, "note.txt"))["id"]
    for call in ("file/getsplash", "file/splash"):
        async with httpx.AsyncClient(trust_env=False) as http:
            picture = await http.get(await streamtape.call(call, file=film))
        assert picture.headers["content-type"] == "image/jpeg"
        assert await streamtape.status(call, file=note) == 404


async def test_pages_of_files_work_until_they_are_deleted(streamtape: Api) -> None:
    sent = await streamtape.upload(TEXT, "page.txt")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(sent["url"])).status_code == 302
        assert (await http.get(sent["url"][:-1] + "x")).status_code == 404
        assert (await http.get(sent["url"].partition("?")[0])).status_code == 404
        player = await http.get(sent["url"].replace("/v/", "/e/"), follow_redirects=True)
        assert player.content == TEXT
        await streamtape.call("file/delete", file=sent["id"])
        assert (await http.get(sent["url"])).status_code == 404


# Folders.


async def test_folders_are_made_renamed_and_deleted_with_their_contents(api: Api, running: Stack) -> None:
    top = await folder_named(api, f"A b/ü {own(api)}")
    listed = {each["id"]: each["name"] for each in (await api.call("file/listfolder"))["folders"]}
    assert listed[top] == f"A b_ü {own(api)}"
    assert await folder_named(api, f"A b/ü {own(api)}") == top
    inner = str((await api.call("file/createfolder", name="inner", pid=top))["folderid"])
    assert (await api.call("file/listfolder", folder=top))["folders"] == [{"id": inner, "name": "inner"}]
    assert await api.call("file/renamefolder", folder=top, name=f"renamed {own(api)}") is True
    file = (await api.upload(TEXT, "deep.txt", folder=inner))["id"]
    saved = (await running.client.get(f"/api/v1/files/{file}")).json()
    assert saved["folder"] == f"/renamed {own(api)}/inner"
    assert await names(api, inner) == ["deep.txt"]
    assert await api.status("file/deletefolder") == 400
    for nothing in ("", "0", "None", "null"):
        assert await api.status("file/deletefolder", folder=nothing) == 400
    assert await names(api, inner) == ["deep.txt"]
    assert await api.call("file/deletefolder", folder=top) is True
    assert (await api.call("file/info", file=file))[file]["status"] == 404
    for call in ("file/listfolder", "file/renamefolder", "file/deletefolder", "file/ul"):
        assert await api.status(call, folder=inner, name="x") == 404, call
    for name in ("..", "...", "\x07"):
        assert await api.status("file/createfolder", name=name) == 400


async def test_an_empty_folder_has_lists(api: Api) -> None:
    folder = await folder_named(api, f"empty {own(api)}")
    found = await api.call("file/listfolder", folder=folder)
    assert found == {"folders": [], "files": {} if api.base.endswith("v1") else []}


async def test_a_file_stays_in_a_folder_that_is_renamed_while_it_arrives(
    streamtape: Api, running: Stack
) -> None:
    folder = await folder_named(streamtape, "old name")
    await running.request("POST", "/queue/pause")
    url = (await streamtape.call("file/ul", folder=folder))["url"]
    sending = asyncio.create_task(streamtape.send(url, TEXT, "late.txt"))

    async def is_there() -> bool:
        return bool((await running.client.get("/api/v1/tasks")).json()["tasks"])

    await until(is_there, what="the task of the upload")
    await streamtape.call("file/renamefolder", folder=folder, name="new name")
    await running.request("POST", "/queue/resume")
    assert (await sending)["status"] == 200
    assert await names(streamtape, folder) == ["late.txt"]
    assert "old name" not in str(await streamtape.call("file/listfolder"))


# Remote uploads.


async def state(api: Api, id_: str) -> dict[str, Any]:
    found = await api.call("remotedl/status", id=id_)
    assert list(found) == [id_]
    shown: dict[str, Any] = found[id_]
    return shown


async def ended(api: Api, id_: str) -> dict[str, Any]:
    """A remote upload that has ended."""
    shown: dict[str, Any] = {}

    async def has() -> bool:
        nonlocal shown
        shown = await state(api, id_)
        return shown["status"] in ("finished", "error")

    await until(has, what="the end of a remote upload")
    return shown


async def test_a_url_is_fetched_with_its_headers(api: Api) -> None:
    sent = ["Cookie: a=b", "User-Agent: X"]
    headers: dict[str, Any] = {"headers[]": sent} if api.base.endswith("v1") else {"headers": "\n".join(sent)}
    folder = await folder_named(api, f"remote {own(api)}")
    async with serve() as web:
        web.pages["/film.mp4"] = Page(DATA)
        added = await api.call(
            "remotedl/add", url=web.url("/film.mp4"), folder=folder, name="n.mp4", **headers
        )
        assert added["folderid"] == folder
        shown = await ended(api, added["id"])
        assert [(each["cookie"], each["user-agent"]) for _, each in web.asked[:1]] == [("a=b", "X")]
    assert (shown["status"], shown["folderid"]) == ("finished", folder)
    assert await api.read(shown["extid"]) == DATA
    assert await names(api, folder) == ["n.mp4"]
    if not api.base.endswith("v1"):
        assert (int(shown["bytes_loaded"]), int(shown["bytes_total"])) == (len(DATA), len(DATA))
    else:
        assert shown["progress_percent"] == "100"


async def test_a_telegram_message_becomes_a_task_and_a_file(api: Api, running: Stack) -> None:
    await running.request("POST", "/queue/pause")
    added = await api.call("remotedl/add", url="https://t.me/channel/123")
    assert (await state(api, added["id"]))["status"] == "new"
    [task] = (await running.client.get("/api/v1/tasks")).json()["tasks"]
    assert "https://t.me/channel/123" in task["title"]
    await running.request("POST", "/queue/resume")
    shown = await ended(api, added["id"])
    assert shown["status"] == "finished"
    assert len(await api.read(shown["extid"])) > 0


async def test_removing_a_remote_upload_cancels_its_task(api: Api, running: Stack, stranger: Api) -> None:
    other = await stranger.call("remotedl/add", url="https://t.me/channel/128")
    added = [await api.call("remotedl/add", url="https://t.me/channel/128") for _ in range(3)]
    await api.status("remotedl/remove", id=other["id"])
    assert await api.call("remotedl/remove", id=added[0]["id"]) is True
    assert await api.status("remotedl/remove", id=added[0]["id"]) == 404
    assert await api.status("remotedl/status", id=added[0]["id"]) == 404
    assert await api.status("remotedl/remove") == 400
    assert await api.call("remotedl/remove", id="all") is True
    assert await api.call("remotedl/status") == {}
    live = (await running.client.get("/api/v1/tasks")).json()["tasks"]
    assert {task["user_id"] for task in live} == {OTHER_USER}
    assert list(await stranger.call("remotedl/status")) == [other["id"]]
    await stranger.call("remotedl/remove", id="all")


async def test_the_newest_are_listed(pstream: Api) -> None:
    await pstream.call("remotedl/remove", id="all")
    ids = [(await pstream.call("remotedl/add", url="http://10.0.0.1/x"))["id"] for _ in range(7)]
    assert list(await pstream.call("remotedl/status")) == ids[:1:-1]
    for limit, count in {"100": 7, "101": 7, "2": 2, "0": 5, "-1": 5, "x": 5}.items():
        assert list(await pstream.call("remotedl/status", limit=limit)) == ids[::-1][:count], limit
    await pstream.call("remotedl/remove", id="all")


PRIVATE = [
    "http://10.0.0.1/",
    "http://192.168.0.1:8080/a.mp4",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://0x0a000001/",
    "http://167772161/",
    "http://10.1/",
    "http://012.0.0.1/",
    "http://0.0.0.0/",
    "http://10.0.0.1./",
]


@pytest.mark.parametrize("url", PRIVATE)
async def test_private_addresses_are_an_error(pstream: Api, url: str) -> None:
    shown = await ended(pstream, (await pstream.call("remotedl/add", url=url))["id"])
    assert (shown["status"], shown["errormsg"], shown["progress_percent"]) == ("error", "Invalid URL", "100")
    assert (shown["extid"], shown["url"], shown["remoteurl"]) == (False, False, url)


async def test_a_redirect_to_a_private_address_is_an_error(pstream: Api) -> None:
    async with serve() as web:
        for target in ("http://169.254.169.254/", "http://[::1]/", "http://10.0.0.1/"):
            web.pages["/r"] = Page(status=302, headers={"Location": target})
            shown = await ended(pstream, (await pstream.call("remotedl/add", url=web.url("/r")))["id"])
            assert shown["errormsg"] == "Invalid URL"


async def test_what_is_no_url_is_refused(api: Api) -> None:
    for url in ("file:///etc/passwd", "gopher://x/", "nonsense", "", "http://"):
        assert await api.status("remotedl/add", url=url) == 400, url


async def test_other_errors_are_told(pstream: Api) -> None:
    async with serve() as web:
        shown = await ended(pstream, (await pstream.call("remotedl/add", url=web.url("/gone")))["id"])
    assert shown["status"] == "error"
    assert "404" in shown["errormsg"] or "not" in shown["errormsg"]


# The mistakes of clients.


async def test_parameters_are_taken_from_a_form_too(api: Api) -> None:
    assert (await api.reply("account/info", method="POST"))["status"] == 200
    async with httpx.AsyncClient(trust_env=False) as http:
        fields = {name: (None, value) for name, value in api.login.query.items()}
        assert envelope(await http.post(f"{api.base}/account/info", files=fields))["status"] == 200
        query = f"login={api.login.login}&key={api.login.key}"
        request = http.build_request("GET", f"{api.base}/account/info?{query}", json={"login": "other"})
        assert envelope(await http.send(request))["status"] == 200


@pytest.mark.parametrize("nothing", ["", "0", "None", "null", "undefined", "{}"])
async def test_texts_for_nothing_mean_the_root(api: Api, nothing: str) -> None:
    assert await api.call("file/listfolder", folder=nothing) == await api.call("file/listfolder")
    file = (await api.upload(TEXT, f"root {nothing or 'empty'}", folder=nothing))["id"]
    assert file in str(await api.call("file/listfolder"))
    await api.call("file/delete", file=file)


async def test_slashes_are_collapsed(running: Stack, login: Login) -> None:
    for path in ("//account/info", "/v1//account//info", "///1/account/info/"):
        assert (await Api(running, login).reply(path.lstrip("/") and path[1:]))["status"] == 200, path


async def test_a_copied_html_entity_is_no_part_of_a_value(streamtape: Api) -> None:
    folder = await folder_named(streamtape, "of scaldings")
    async with serve() as web:
        web.pages["/film.mp4"] = Page(TEXT)
        query = f"url={web.url('/film.mp4')}&folder={folder}amp;name=N.mp4"
        login = f"login={streamtape.login.login}&key={streamtape.login.key}"
        async with httpx.AsyncClient(trust_env=False) as http:
            reply = envelope(await http.get(f"{streamtape.base}/remotedl/add?{login}&{query}"))
        await ended(streamtape, reply["result"]["id"])
    assert await names(streamtape, folder) == ["N.mp4"]


async def test_a_large_body_is_refused(streamtape: Api) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        reply = await http.post(f"{streamtape.base}/account/info", data={"x": "y" * 3_000_000})
    assert envelope(reply)["status"] == 400


# Other users.


async def test_the_files_and_folders_of_others_do_not_exist(api: Api, stranger: Api) -> None:
    file = (await api.upload(TEXT, "mine.txt"))["id"]
    folder = await folder_named(api, f"mine {own(api)}")
    ticket = (await api.call("file/dlticket", file=file))["ticket"]
    for call, more in {
        "file/dlticket": {},
        "file/rename": {"name": "x"},
        "file/move": {"folder": "0"},
        "file/delete": {},
        "file/getsplash": {},
        "file/convert": {},
    }.items():
        assert await stranger.status(call, file=file, **more) == 404, call
    for call in ("file/listfolder", "file/renamefolder", "file/deletefolder", "file/ul"):
        assert await stranger.status(call, folder=folder, name="x") == 404, call
    assert await stranger.status("file/createfolder", name="x", pid=folder) == 404
    assert await stranger.status("remotedl/add", url="https://t.me/channel/123", folder=folder) == 404
    assert (await stranger.call("file/info", file=file))[file]["status"] == 404
    theirs = (await stranger.upload(TEXT, "own.txt"))["id"]
    assert await stranger.status("file/move", file=theirs, folder=folder) == 404
    assert await stranger.status("file/dl", file=theirs, ticket=ticket) == 403
    assert (await api.call("file/info", file=file))[file]["name"] == "mine.txt"
