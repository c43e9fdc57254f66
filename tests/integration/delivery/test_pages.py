"""The pages of links: players, galleries, playlists; without JavaScript, and with hostile names."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import httpx
import pytest

from saveany.store import Store
from tests.integration.api.conftest import check_error
from tests.integration.delivery.conftest import link, link_to, save

HOSTILE = [
    "<img src=x onerror=alert(1)>.mp4",
    "\"quoted\" 'single' & more.mp3",
    "отчёт 报告 🎉.mkv",
    "#EXTINF:1,x.mp4",
    "reverse\u202e4pm.mp4",
    "%2e%2e%2f50%.mp4",
    "{{ 7 * 7777777 }}.mp4",
    "javascript:alert(1).mp4",
    "x" * 230 + ".mp4",
]


class Links(HTMLParser):
    """Collects the addresses of a page, and its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "href" and value:
                self.links.append(value)
            elif name in ("src", "poster") and value:
                self.loaded.append(value)


def check_page(reply: httpx.Response) -> Links:
    """A page runs no script, and loads only from its own host."""
    assert reply.headers["content-type"].startswith("text/html")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    [style] = re.findall(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    found = Links(reply.text)
    assert not found.tags & {"script", "iframe", "object", "embed", "base"}
    assert not [name for name in found.attributes if name.startswith("on") or name == "style"]
    assert all(each.startswith("../") for each in found.loaded)
    return found


async def folder_link(live: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    [folder] = (await live.get("/api/v1/folders")).json()["folders"]
    return await link_to(live, folder_id=folder["folder_id"], **options)


async def test_the_page_of_a_video(live: httpx.AsyncClient, public: httpx.AsyncClient) -> None:
    made = await link(live, "https://t.me/channel/142")
    reply = await public.get(made["page_url"])
    found = check_page(reply)
    assert "video" in found.tags
    for address in found.loaded:
        assert (await public.get(urljoin(made["page_url"], address))).status_code == 200
    downloads, vlc, mpv, infuse, mx, playlist = found.links
    assert urljoin(made["page_url"], downloads) == made["url"]
    assert vlc == f"vlc://{made['stream_url']}"
    assert base64.urlsafe_b64decode(mpv.split("/")[3] + "==").decode() == made["stream_url"]
    assert unquote(infuse.partition("url=")[2]) == unquote(made["stream_url"])
    assert mx.startswith(f"intent://{made['stream_url'].removeprefix('http://')}#Intent;scheme=http;")
    listed = await public.get(playlist)
    assert listed.headers["content-type"].startswith("audio/x-mpegurl")
    assert listed.text.splitlines()[2] == made["stream_url"]


async def test_the_page_of_a_folder(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    files = {f"downloads/{name}": name.encode() for name in ("b.mp4", "a.mp3", "c.txt")}
    ids = await save(live, store, tmp_path / "files", files)
    made = await folder_link(live)
    found = check_page(await public.get(made["page_url"]))
    archive, playlist, *rest = (urljoin(made["page_url"], each) for each in found.links)
    with zipfile.ZipFile(io.BytesIO((await public.get(archive)).content)) as zipped:
        assert zipped.namelist() == ["a.mp3", "b.mp4", "c.txt"]
    entries = (await public.get(playlist)).text.splitlines()[1:]
    assert entries[::2] == ["#EXTINF:-1,a.mp3", "#EXTINF:-1,b.mp4"]
    assert [(await public.get(each)).text for each in entries[1::2]] == ["a.mp3", "b.mp4"]
    for name, page, download in zip(("a.mp3", "b.mp4", "c.txt"), rest[::2], rest[1::2], strict=True):
        assert page == f"{made['page_url']}/{ids[name]}"
        assert (await public.get(download)).text == name
        inner = check_page(await public.get(page))
        assert urljoin(page, inner.links[0]) == download
        part = await public.get(download, headers={"Range": "bytes=-3"})
        assert (part.status_code, part.text) == (206, name[-3:])


async def test_a_folder_gives_no_file_from_elsewhere(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    ids = await save(live, store, tmp_path / "files", {"downloads/a.mp4": b"a"})
    made = await folder_link(live)
    single = await link_to(live, file_id=ids["a.mp4"])
    for path in (
        f"/dl/{made['token']}/unknown/a.mp4",
        f"/thumb/{made['token']}/unknown",
        f"/s/{made['token']}/unknown",
        f"/s/{made['token']}/unknown/playlist.m3u8",
        f"/s/{single['token']}/{ids['a.mp4']}",
        f"/thumb/{single['token']}/{ids['a.mp4']}",
    ):
        check_error(await public.get(f"{live.base_url}{path}"), 404)
    moved = await live.patch(f"/api/v1/files/{ids['a.mp4']}", json={"folder_id": 0})
    assert moved.status_code == 200
    check_error(await public.get(f"{live.base_url}/dl/{made['token']}/{ids['a.mp4']}/a.mp4"), 404)


async def test_a_folder_with_a_password(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    """Its files are locked, too; players, which have no cookie, are not offered."""
    ids = await save(live, store, tmp_path / "files", {"downloads/a.mp4": b"a"})
    made = await folder_link(live, password="correct horse")
    token, file_id = made["token"], ids["a.mp4"]
    paths = [f"/{kind}/{token}/{file_id}" for kind in ("s", "thumb")] + [f"/dl/{token}/{file_id}/a.mp4"]
    for path in paths:
        assert (await public.get(f"{live.base_url}{path}")).status_code == 401
    opened = await public.post(made["page_url"], data={"password": "correct horse"})
    assert opened.status_code == 303
    page = await public.get(made["page_url"])
    assert "Play all" not in page.text
    assert "vlc:" not in (await public.get(f"{made['page_url']}/{file_id}")).text
    assert (await public.get(f"{live.base_url}{paths[-1]}")).text == "a"


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path, name: str
) -> None:
    """They are only text on the page, and name files of the zip and of the playlist as they are."""
    ids = await save(live, store, tmp_path / "files", {f"downloads/{name}": b"content"})
    made = await link_to(live, file_id=ids[name])
    folder = await folder_link(live)
    reply = await public.get(made["url"])
    assert reply.content == b"content"
    assert "\n" not in reply.headers["content-disposition"]
    for page_url in (made["page_url"], folder["page_url"]):
        page = await public.get(page_url)
        found = check_page(page)
        assert "54444439" not in page.text
        assert all(re.match(r"\.\./|http://|vlc://|mpv://|infuse://|intent://", each) for each in found.links)
        assert "\u202e" not in page.text
        for address in [*found.loaded, *(each for each in found.links if each.startswith("../"))]:
            target = await public.get(urljoin(page_url, address))
            assert target.status_code in (200, 404), address
            assert target.status_code == 200 or "/thumb/" in address
        playlist = (await public.get(f"{page_url}/playlist.m3u8")).text.splitlines()
        assert len(playlist) == 3
        assert playlist[0] == "#EXTM3U"
        assert (await public.get(playlist[2])).content == b"content"
    with zipfile.ZipFile(io.BytesIO((await public.get(folder["url"])).content)) as archive:
        assert archive.testzip() is None
        [stored] = archive.namelist()
        assert not re.search(r'[\\/:*?"<>|\x00-\x1f\u202e]', stored)


async def test_the_type_of_a_file_cannot_open_another_program(
    live: httpx.AsyncClient,
    public: httpx.AsyncClient,
    store: Store,
    tmp_path: Path,
) -> None:
    """It is what the sender of a message has stated."""
    mime = "video/mp4;S.browser_fallback_url=https%3A%2F%2Fevil.example;package=evil"
    ids = await save(live, store, tmp_path / "files", {"downloads/a.mp4": b"content"}, {"mime": mime})
    made = await link_to(live, file_id=ids["a.mp4"])
    [intent] = [each for each in check_page(await public.get(made["page_url"])).links if "intent:" in each]
    settings = intent.partition("#")[2].split(";")
    assert [each.partition("=")[0] for each in settings] == [
        *("Intent", "scheme", "type", "package", "S.title", "end")
    ]
    assert "package=com.mxtech.videoplayer.ad" in settings


async def test_pages_are_in_the_language_of_the_reader(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
) -> None:
    ids = await save(live, store, tmp_path / "files", {"downloads/a.mp4": b"content"})
    made, folder = await link_to(live, file_id=ids["a.mp4"]), await folder_link(live)
    locked = await link_to(live, file_id=ids["a.mp4"], password="open sesame")
    for each, said in ((made, "下载"), (folder, "1 个文件"), (locked, "密码")):
        page = await public.get(each["page_url"], headers={"Accept-Language": "zh-CN"})
        check_page(page)
        assert said in page.text
        assert '<html lang="zh-Hans">' in page.text
        assert said not in (await public.get(each["page_url"])).text


async def test_a_browser_gets_a_page_that_says_why_a_link_does_not_work(
    live: httpx.AsyncClient, public: httpx.AsyncClient
) -> None:
    """With the same status as other clients, which get JSON; a reader in their own language."""
    made = await link(live, "https://t.me/channel/142")
    await live.patch(f"/api/v1/links/{made['token']}", json={"revoked": True})
    base = made["url"].partition("/dl/")[0]
    for url in (made["page_url"], made["url"], made["stream_url"], f"{base}/s/nothing", f"{base}/dl/nothing"):
        plain = await public.get(url)
        check_error(plain, plain.status_code)
        assert plain.status_code in (404, 410)
        for language, sign in (("en-GB", "<h1>"), ("zh-CN", "[\u4e00-\u9fff]")):
            accept = {"Accept": "text/html,*/*;q=0.8", "Accept-Language": language}
            page = await public.get(url, headers=accept)
            check_page(page)
            assert page.status_code == plain.status_code
            assert re.search(sign, page.text)
            assert page.headers["cache-control"] == "no-store"
            if language == "en-GB":
                assert plain.json()["message"].lower() in page.text.lower()
