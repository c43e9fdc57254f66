"""The real gallery-dl with pages of a web server on loopback."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from saveany.config import Config
from saveany.errors import Permanent, Retryable, TaskError
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import SourceHarness, all_gone, leftovers
from tests.integration.sources.programs import COOKIES, VIDEO, stand_in, with_cookies
from workers.sources.base import Tools
from workers.sources.gallery import GallerySource
from workers.sources.ytdlp import YtDlpSource


@pytest.fixture
def pictures(tools: Tools) -> SourceHarness:
    program("gallery-dl")
    return SourceHarness(GallerySource(tools))


async def test_a_missing_program_is_reported(tools: Tools) -> None:
    config = Config.model_validate({"ytdlp": {"program": "no-such"}, "gallery": {"program": "no-such"}})
    for source in (YtDlpSource, GallerySource):
        assert "not installed; pip install" in str(source(replace(tools, config=config)).problem)


async def test_pictures_of_a_page_are_downloaded(site: Site, pictures: SourceHarness) -> None:
    """`recursive:` is the extractor that accepts pages of any server."""
    links = [site.url("/one.jpg"), site.url("/x/two.png"), site.url("/..%2F..%2Fthree.jpg")]
    html = "".join(f'<a href="{link}">x</a>' for link in links)
    site.pages["/post"] = Page(html.encode(), headers={"Content-Type": "text/html"})
    site.pages |= {"/one.jpg": Page(b"1"), "/x/two.png": Page(b"22")}
    link = f"recursive:{site.url('/post')}"
    items = await pictures.items(link)
    assert [item.name for item in items][:2] == ["one.jpg", "two.png"]
    assert "/" not in items[2].name
    assert len({item.path.rpartition("/")[0] for item in items}) == 1
    assert await pictures.fetched(await pictures.prepared(items[0])) == b"1"
    headers = next(headers for path, headers in reversed(site.asked) if path == "/one.jpg")
    assert headers["referer"] == links[0]  # as that extractor wants it


@pytest.mark.parametrize(
    ("page", "kind", "words"),
    [
        (Page(VIDEO, cut_after=99, ranges=False), Retryable, "127.0.0.1"),
        (Page(VIDEO, ranges=False, headers={"Content-Length": "700001"}), Retryable, "127.0.0.1"),
        (Page(b"<p>log in", headers={"Content-Type": "text/html"}), Permanent, "web page in place"),
        (Page(status=302, headers={"Location": "http://127.0.0.2/x.jpg"}), Permanent, r"127\.0\.0\.2"),
    ],
    ids=["dies", "length", "type", "redirect"],
)
async def test_a_missing_picture_fails_alone(
    site: Site, pictures: SourceHarness, page: Page, kind: type[TaskError], words: str
) -> None:
    site.pages["/one.jpg"] = page
    (item,) = await pictures.items(site.url("/one.jpg"))
    with pytest.raises(kind, match=words):
        await pictures.fetched(await pictures.prepared(item))


async def test_a_picture_continues_where_it_stopped(site: Site, pictures: SourceHarness) -> None:
    site.pages["/one.jpg"] = Page(VIDEO, headers={"ETag": '"1"'}, cut_after=300_000, cuts=1)
    (item,) = await pictures.items(site.url("/one.jpg"))
    assert await pictures.fetched(await pictures.prepared(item), [(0, 1000)]) == VIDEO[1000:]


async def test_canceling_the_search_leaves_no_process(
    site: Site, pictures: SourceHarness, tools: Tools
) -> None:
    site.pages["/post"] = Page(b"<html>", hold_after=1, ranges=False)
    work = asyncio.create_task(pictures.items(f"recursive:{site.url('/post')}"))
    await asyncio.wait_for(site.asked_for("/post"), 30)
    assert leftovers(tools.scratch)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await all_gone(tools.scratch)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("https://nobody.invalid/x", "Unsupported URL|found no files|gallery-dl"),
        ("generic:http://127.0.0.2/post", "127.0.0.2"),
    ],
)
async def test_links_that_gallery_dl_does_not_support(pictures: SourceHarness, link: str, words: str) -> None:
    with pytest.raises((Permanent, Retryable), match=words):
        await pictures.items(link)


async def test_servers_get_the_headers_that_they_require(site: Site, tools: Tools, tmp_path: Path) -> None:
    """The cookies of the user are sent but not stored."""
    program("gallery-dl")
    site.pages["/one.jpg"] = Page(b"1")
    pictures = SourceHarness(GallerySource(with_cookies(tools, tmp_path, COOKIES)))
    (item,) = await pictures.items(site.url("/one.jpg"))
    assert list(tools.scratch.iterdir())
    site.asked.clear()
    ready = await pictures.prepared(item)
    assert await pictures.fetched(ready) == b"1"
    assert site.asked[0][1]["cookie"] == "login=hush"
    assert "hush" not in str(ready)
    await pictures.source.forget("t")
    assert list(tools.scratch.iterdir()) == []


async def test_cookies_in_another_format_are_refused(tools: Tools, tmp_path: Path) -> None:
    program("gallery-dl")
    pictures = SourceHarness(GallerySource(with_cookies(tools, tmp_path, '{"login": "hush"}')))
    with pytest.raises(Permanent, match="cookies") as caught:
        await pictures.prepared((await pictures.items("http://127.0.0.1:9/one.jpg"))[0])
    assert "hush" not in str(caught.value)


async def test_output_of_gallery_dl_is_not_trusted(
    pictures: SourceHarness, tools: Tools, tmp_path: Path
) -> None:
    """A site can influence the output of gallery-dl."""
    lines = [
        [2, {"title": "../../x"}],
        [3, "http://127.0.0.1/a.jpg", {"filename": "../../etc/passwd", "extension": "", "title": "../.."}],
        [3, "file:///etc/passwd", {"filename": "x"}],
        [3, "ytdl:https://example.com/v", {"filename": "v"}],
        [3, "http://127.0.0.1/b.jpg", {"filename": None, "id": 5, "_http_headers": {"X-A": "b"}}],
    ]
    fake = stand_in(tmp_path, f"echo '{json.dumps(lines)}'")
    config = Config.model_validate({"gallery": {"program": fake}})
    found = SourceHarness(GallerySource(replace(tools, config=config)))
    first, video, second = await found.items("https://example.com/")
    assert ".." not in first.path.split("/")
    assert second.name == "b.jpg"
    assert second.source["headers"]["X-A"] == "b"
    with pytest.raises(Permanent, match=r"type ytdlp for https://example\.com/v"):
        await found.prepared(video)


async def test_invalid_output_is_an_error(tools: Tools, tmp_path: Path) -> None:
    config = Config.model_validate({"gallery": {"program": stand_in(tmp_path, "echo [[3,")}})
    with pytest.raises(Permanent, match="understand"):
        await SourceHarness(GallerySource(replace(tools, config=config))).items("https://example.com/")
