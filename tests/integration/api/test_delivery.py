"""Links deliver the files that were saved."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.catalogue.link_models import Link
from saveany.catalogue.links import _free_path
from saveany.config import Config
from saveany.delivery.content import Content, etag_of
from saveany.delivery.delivery import LinkDelivery
from saveany.errors import Gone, Unavailable
from saveany.store import Store, keys
from tests.fixtures.contents import BytesContent
from tests.fixtures.waiting import until
from tests.integration.api.conftest import USER, check_error
from tests.integration.api.links import DATA, PATH, config_with, link, save


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_with(tmp_path, {"openings": 3})


@pytest.fixture
async def file_id(store: Store, live: httpx.AsyncClient, tmp_path: Path) -> str:
    """A file that was saved."""
    return await save(live, store, tmp_path / "files", DATA)


@pytest.fixture
async def public() -> Any:
    """A client without the token, such as a browser."""
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


async def test_a_link_delivers_its_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    made = await link(live, file_id)
    whole = await public.get(made["url"])
    assert (whole.status_code, whole.content) == (200, DATA)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"] == 'attachment; filename="film.mp4"'
    assert whole.headers["x-ratelimit-remaining"] == "2"
    part = await public.get(made["url"], headers={"Range": "bytes=-5"})
    assert (part.status_code, part.content) == (206, DATA[-5:])
    assert part.headers["x-ratelimit-remaining"] == "2"
    shown = await public.get(made["stream_url"], headers={"Range": "bytes=0-0"})
    assert shown.headers["content-disposition"].startswith("inline")
    head = await public.head(made["url"])
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))


async def test_downloads_and_bytes_are_counted(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    made = await link(live, file_id)
    for _ in range(3):
        await public.get(made["url"])
    await public.head(made["url"])
    seen = (await live.get(f"/api/v1/links/{made['token']}")).json()
    assert seen["downloads"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"revoked": True}, "this link was revoked")],
)
async def test_links_that_do_not_work(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, change: dict[str, Any], message: str
) -> None:
    """SB9."""
    made = await link(live, file_id)
    changed = await live.patch(f"/api/v1/links/{made['token']}", json=change)
    assert changed.status_code == 200
    refused = await public.get(made["url"])
    assert message in check_error(refused, 410)["message"]
    assert refused.headers["cache-control"] == "no-store"
    again = await live.patch(f"/api/v1/links/{made['token']}", json={"revoked": False})
    assert again.json()["state"] == "active"


async def test_a_link_is_downloaded_as_often_as_it_may_be(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """The one who has it open may continue."""
    made = await link(live, file_id, max_downloads=1)
    for _ in range(2):
        assert (await public.get(made["url"], headers={"Range": "bytes=0-9"})).status_code == 206
    seen = (await live.get(f"/api/v1/links/{made['token']}")).json()
    assert (seen["state"], seen["downloads"]) == ("used_up", 1)


async def test_a_link_stays_open_while_it_is_read(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    file_id = await save(live, store, tmp_path / "files", bytes(64 << 20))  # more than connections buffer
    made = await link(live, file_id, max_downloads=1)
    key = keys.LINK_OPENED(made["token"], "127.0.0.1")

    async with public.stream("GET", made["url"]) as reply:
        assert reply.status_code == 200
        await store.db.do("PEXPIRE", key, 60_000)

        async def is_renewed() -> bool:
            return int(await store.db.do("PTTL", key)) > 60_000

        await until(is_renewed, within=20, what="a later end of the opening")


async def test_an_address_opens_a_limited_number_of_links(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """SB11."""
    made = [await link(live, file_id) for _ in range(4)]
    replies = [await public.get(each["url"]) for each in made]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    refused = check_error(replies[-1], 429)
    assert refused["message"] == "Too many requests, please try again later"
    assert 0 < int(replies[-1].headers["retry-after"]) <= 600
    assert (await public.get(made[0]["url"])).status_code == 200


async def test_a_copy_that_is_gone_or_changed_is_not_delivered(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, tmp_path: Path
) -> None:
    made = await link(live, file_id)
    copy = tmp_path / "files" / PATH
    copy.write_bytes(b"other content")
    check_error(await public.get(made["url"]), 404)
    copy.unlink()
    check_error(await public.get(made["url"]), 404)
    seen = (await live.get(f"/api/v1/links/{made['token']}")).json()
    assert seen["downloads"] == 0


async def test_a_copy_that_has_changed_to_bytes_of_the_same_number_is_another_version(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, tmp_path: Path
) -> None:
    """A client that resumes a download must not mix both."""
    made = await link(live, file_id)
    etag = (await public.get(made["url"], headers={"Range": "bytes=0-9"})).headers["etag"]
    assert etag == etag_of(hashlib.sha256(DATA).hexdigest())
    (tmp_path / "files" / PATH).write_bytes(bytes(len(DATA)))
    rest = await public.get(made["url"], headers={"Range": "bytes=10-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (200, bytes(len(DATA)))
    assert rest.headers["etag"] != etag


async def test_a_copy_that_was_deleted_from_outside_is_reported(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, tmp_path: Path
) -> None:
    made = await link(live, file_id)
    copy, address = tmp_path / "files" / PATH, f"/api/v1/files/{file_id}"
    assert "missing_since" not in (await live.get(address)).json()
    for content in (None, b"other content"):
        copy.unlink()
        if content:
            copy.write_bytes(content)
        check_error(await public.get(made["url"]), 404)
        assert "missing_since" in (await live.get(address)).json()
        copy.write_bytes(DATA)
        await until(partial(_is_back, live, public, made["url"], address))


async def _is_back(live: httpx.AsyncClient, public: httpx.AsyncClient, url: str, address: str) -> bool:
    assert (await public.get(url)).status_code == 200
    return "missing_since" not in (await live.get(address)).json()


async def test_a_storage_that_is_away_has_lost_no_copy(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, tmp_path: Path
) -> None:
    made = await link(live, file_id)
    assert (await public.get(made["url"])).status_code == 200
    (tmp_path / "files").rename(tmp_path / "away")
    (tmp_path / "files").mkdir()
    check_error(await public.get(made["url"]), 503)
    assert "missing_since" not in (await live.get(f"/api/v1/files/{file_id}")).json()


async def test_links_stop_working_in_the_call_that_deletes_their_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """CA4, X1."""
    made = await link(live, file_id)
    address = f"/api/v1/files/{file_id}"
    for _ in range(2):
        assert (await public.get(made["url"])).status_code == 200
        assert (await live.delete(address)).json() == {"message": "file moved to the trash"}
        for url in (made["url"], made["stream_url"], f"{live.base_url}/s/{made['token']}"):
            assert "was deleted" in check_error(await public.get(url), 410)["message"]
        check_error(await live.get(address), 404)
        check_error(await live.delete(address), 404)
        assert (await live.get("/api/v1/files")).json()["files"] == []
        assert (await live.get("/api/v1/stats")).json()["files"] == 0
        (deleted,) = (await live.get("/api/v1/trash")).json()["files"]
        assert (deleted["file_id"], bool(deleted["deleted_at"])) == (file_id, True)
        restored = await live.post(f"{address}/restore")
        assert restored.json()["file_id"] == file_id
        check_error(await live.post(f"{address}/restore"), 404)
    assert (await public.get(made["url"])).content == DATA
    check_error(await live.delete(address, params={"now": "maybe"}), 400)
    assert (await live.delete(address)).status_code == 200
    assert (await live.delete("/api/v1/trash")).json() == {"message": "1 files deleted", "removed": 1}
    check_error(await live.post(f"{address}/restore"), 404)
    assert (await live.get("/api/v1/trash")).json()["files"] == []


async def test_a_folder_is_deleted_with_its_files(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    made = await link(live, file_id)
    assert (await public.get(made["url"])).status_code == 200
    (folder,) = (await live.get("/api/v1/folders")).json()["folders"]
    address = f"/api/v1/folders/{folder['folder_id']}"
    check_error(await live.delete(address), 409)
    assert (await live.delete(address, params={"recursive": True})).status_code == 200
    check_error(await public.get(made["url"]), 410)
    (deleted,) = (await live.get("/api/v1/trash")).json()["files"]
    assert deleted["folder"] == "/downloads"
    restored = await live.post(f"/api/v1/files/{file_id}/restore")
    assert restored.json()["folder"] == "/downloads"


@pytest.mark.parametrize("token", ["x", "a" * 22, "%00", "é" * 22, "x" * 5000])
async def test_unknown_links(live: httpx.AsyncClient, public: httpx.AsyncClient, token: str) -> None:
    """SB9."""
    for kind in ("dl", "stream"):
        check_error(await public.get(f"{live.base_url}/{kind}/{token}"), 404)


async def test_pages_of_other_sites_may_read_a_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """SB15, DL6: L14."""
    made = await link(live, file_id)
    foreign = {"Origin": "https://player.example.com", "Sec-Fetch-Site": "cross-site"}
    asked = await public.options(made["url"], headers=foreign)
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "Range" in asked.headers["access-control-allow-headers"]
    reply = await public.get(made["url"], headers=foreign)
    assert reply.status_code == 200
    assert "Content-Range" in reply.headers["access-control-expose-headers"]


async def test_a_link_with_a_password_is_opened_by_a_cookie(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """DL14."""
    made = await link(live, file_id, password="correct horse")
    assert made["has_password"]
    assert "correct" not in str(made)
    page = f"{live.base_url}/s/{made['token']}"
    check_error(await public.get(made["url"]), 401)
    asked = await public.get(page)
    assert asked.status_code == 401
    assert 'type="password"' in asked.text
    assert "Download" not in asked.text
    wrong = await public.post(page, data={"password": "wrong"})
    assert wrong.status_code == 401
    assert "this password is wrong" in wrong.text
    opened = await public.post(page, data={"password": "correct horse"})
    assert opened.status_code == 303
    cookies = opened.headers.get_list("set-cookie")
    assert len(cookies) == 4
    assert all("HttpOnly" in each and "SameSite=lax" in each for each in cookies)
    assert "Download" in (await public.get(page)).text
    assert (await public.get(made["url"])).content == DATA
    other = await link(live, file_id, password="another")
    check_error(await public.get(other["url"]), 401)
    await live.patch(f"/api/v1/links/{made['token']}", json={"password": "changed"})
    await until(partial(_is_refused, public, made["url"]))


async def _is_refused(public: httpx.AsyncClient, url: str) -> bool:
    return (await public.get(url)).status_code == 401


async def test_the_form_of_a_password_is_short(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """Millions of fields would keep the API busy."""
    made = await link(live, file_id, password="secret")
    filled = {"x": "a" * 5000, "password": "secret"}
    assert (await public.post(made["page_url"], data=filled)).status_code == 401
    assert (await public.post(made["page_url"], data={"password": "secret"})).status_code == 303


async def test_passwords_cannot_be_guessed(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    made = await link(live, file_id, password="correct horse")
    page = f"{live.base_url}/s/{made['token']}"
    replies = [await public.post(page, data={"password": str(n)}) for n in range(11)]
    assert [reply.status_code for reply in replies] == [401] * 10 + [429]


async def test_the_page_of_a_link(live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str) -> None:
    made = await link(live, file_id)
    reply = await public.get(f"{live.base_url}/s/{made['token']}")
    assert reply.status_code == 200
    assert "<video" in reply.text
    assert "<script" not in reply.text
    assert "512 kB" in reply.text
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    playlist = await public.get(f"{live.base_url}/s/{made['token']}/playlist.m3u8")
    assert playlist.text.splitlines() == ["#EXTM3U", "#EXTINF:-1,film.mp4", made["stream_url"]]


async def test_what_was_served_is_told(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """As in seed 000 (SB1, SB2)."""
    assert check_error(await public.get(f"{live.base_url}/api/info"), 401) == {
        "error": "Unauthorized",
        "code": 401,
        "message": "Valid authentication token required",
    }
    made = await link(live, file_id)
    await public.get(made["url"])

    async def served() -> bool:
        found = (await live.get("/api/info")).json()
        return (found["files_served"], found["total_bandwidth"]) == (1, "512 kB")

    await until(served)
    told = (await live.get("/api/info")).json()
    assert (told["status"], told["users_count"]) == ("running", 1)
    first = ["status", "uptime", "users_count", "files_served", "total_bandwidth", "version"]
    assert list(told) == [*first, "features", "bandwidth_info", "totaluser", "server_time_utc"]
    assert told["bandwidth_info"]["used_bytes"] == len(DATA)
    assert told["bandwidth_info"]["remaining_gb"] is None
    assert told["features"]["link_expiry_duration_seconds"] == 30 * 24 * 3600
    assert told["features"]["link_expiry_duration_human"].startswith("30 days")


async def test_errors_are_those_of_streambot(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    """SB9, SB11."""
    assert (await public.get(f"{live.base_url}/dl/unknown")).json() == {
        "error": "File not found",
        "code": 404,
        "message": "The requested file could not be found",
    }
    made = [await link(live, file_id) for _ in range(4)]
    replies = [await public.get(each["url"]) for each in made]
    assert replies[-1].json() == {
        "error": "Rate limited",
        "code": 429,
        "message": "Too many requests, please try again later",
    }


async def test_a_folder_is_delivered_as_a_zip(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str
) -> None:
    [folder] = (await live.get("/api/v1/folders")).json()["folders"]
    reply = await live.post("/api/v1/links", json={"folder_id": folder["folder_id"], "user_id": USER})
    made = reply.json()
    assert (made["name"], made["folder_id"]) == ("downloads", folder["folder_id"])
    got = await public.get(made["url"], headers={"Range": "bytes=0-9"})
    assert (got.status_code, got.headers["content-type"]) == (200, "application/zip")
    assert got.headers["content-disposition"] == 'attachment; filename="downloads.zip"'
    assert got.headers["content-length"] == str(len(got.content))
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        assert archive.namelist() == ["film.mp4"]
        assert archive.read("film.mp4") == DATA


async def test_a_folder_that_is_too_large_is_no_zip_with_a_part_of_it(
    live: httpx.AsyncClient, public: httpx.AsyncClient, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [folder] = (await live.get("/api/v1/folders")).json()["folders"]
    reply = await live.post("/api/v1/links", json={"folder_id": folder["folder_id"], "user_id": USER})
    made = reply.json()
    assert "zip" in (await public.get(made["page_url"])).text
    monkeypatch.setattr("saveany.catalogue.links.MAX_FILES", 0)
    for request in (public.get, public.head):
        assert (await request(made["url"])).status_code == 409
    page = (await public.get(made["page_url"])).text
    assert "More than 0 files" in page
    assert "Download all" not in page


async def test_a_link_is_not_downloaded_more_often_by_requests_at_the_same_time(
    live: httpx.AsyncClient, app: FastAPI, file_id: str
) -> None:
    """All of them have read the link before it was used up; none slips in while another is counted."""
    delivery: LinkDelivery = app.state.services.delivery
    made = await link(live, file_id, max_downloads=1)
    before = await delivery.link(made["token"], "9.9.9.1")
    content, _ = await delivery.open(before, "9.9.9.1")
    await content.close()
    found = await asyncio.gather(
        *(delivery.open(before, "9.9.9.2") for _ in range(5)), return_exceptions=True
    )
    assert [type(each) for each in found] == [Gone] * 5
    both = await asyncio.gather(*(delivery.open(before, "9.9.9.1") for _ in range(5)))
    for content, opening in both:
        assert not opening.is_new
        await content.close()


async def test_a_file_is_closed_if_its_download_cannot_be_counted(
    live: httpx.AsyncClient, app: FastAPI, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery: LinkDelivery = app.state.services.delivery
    made = await link(live, file_id, max_downloads=1)
    found, content = await delivery.link(made["token"], "9.9.9.1"), BytesContent(b"1")

    async def open_content(link: Link) -> Content:
        return content

    async def fail(token: str) -> bool:
        raise Unavailable("the catalogue is down")

    monkeypatch.setattr(delivery._opener, "open", open_content)
    monkeypatch.setattr(app.state.services.catalogue.links, "count_download", fail)
    with pytest.raises(Unavailable):
        await delivery.open(found, "9.9.9.1")
    assert content.closed == 1


def test_many_files_of_one_name_take_no_time() -> None:
    """Each gets a number of its own, without a search from 1 on."""
    looked_up = 0

    class Counting(dict[str, int]):
        def __contains__(self, key: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(key)

    taken = Counting()
    paths = [_free_path("folder/a.txt", taken) for _ in range(1000)]
    assert paths[:3] == ["folder/a.txt", "folder/a (2).txt", "folder/a (3).txt"]
    assert len(set(paths)) == 1000
    assert _free_path("folder/A (2).txt", taken) == "folder/A (2) (2).txt"
    assert looked_up < 3000
