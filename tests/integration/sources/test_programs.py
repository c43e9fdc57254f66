"""yt-dlp and gallery-dl, real ones, against pages of a web server on loopback."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from saveany.config import Config
from saveany.errors import Permanent, Retryable
from saveany.sources import YtDlp
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import Bench
from workers.sources import process
from workers.sources.base import Tools
from workers.sources.gallery import GallerySource
from workers.sources.ytdlp import YtDlpSource

VIDEO = random.Random(1).randbytes(700_000)
PAGE = b'<html><head><title>My: film/one</title></head><body><video src="a.mp4"></video>%s</body></html>'


@pytest.fixture
def videos(tools: Tools) -> Bench:
    program("yt-dlp")
    return Bench(YtDlpSource(tools))


@pytest.fixture
def pictures(tools: Tools) -> Bench:
    program("gallery-dl")
    return Bench(GallerySource(tools))


def leftovers(folder: Path) -> list[str]:
    """Programs that run in a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if str(each.readlink()).startswith(str(folder)):
                found.append((each.parent / "cmdline").read_text())
    return found


async def test_a_video_is_fetched_under_its_title(site: Site, videos: Bench, tools: Tools) -> None:
    site.pages |= {"/film": Page(PAGE % b"", headers={"Content-Type": "text/html"}), "/a.mp4": Page(VIDEO)}
    (item,) = await videos.items(site.url("/film"))
    done: list[int] = []
    item = await videos.source.prepare(item, videos.spec, lambda bytes_, total: done.append(bytes_))
    assert (item.name, item.size) == ("My_ film_one (1).mp4", len(VIDEO))
    assert done[-1] == len(VIDEO)
    assert await videos.fetched(item) == VIDEO
    assert await videos.fetched(item, [(0, 100), (5000, 600_000)]) == VIDEO[100:5000] + VIDEO[600_000:]
    await videos.source.forget("t")
    assert list(tools.scratch.iterdir()) == []


async def test_a_playlist_is_a_folder_and_takes_the_room_of_one_video(
    site: Site, videos: Bench, tools: Tools
) -> None:
    more = b'<video src="b.mp4"></video>'
    site.pages["/film"] = Page(PAGE % more, headers={"Content-Type": "text/html"})
    site.pages |= {"/a.mp4": Page(VIDEO), "/b.mp4": Page(VIDEO[::-1])}
    first, second = await videos.items(site.url("/film"))
    assert [first.path, second.path] == ["My_ film_one/My_ film_one (1)", "My_ film_one/My_ film_one (2)"]
    assert await videos.fetched(await videos.prepared(first)) == VIDEO
    assert await videos.fetched(await videos.prepared(second)) == VIDEO[::-1]
    assert len(list(tools.scratch.rglob("media.mp4"))) == 1
    assert len(await videos.items(site.url("/film"), playlist=False)) == 1


async def test_links_that_lead_nowhere_keep_their_reason(site: Site, videos: Bench) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    good, gone, text = await videos.items(site.url("/a.mp4"), site.url("/gone"), site.url("/text"))
    site.pages["/text"] = Page(b"<p>words</p>", headers={"Content-Type": "text/html"})
    assert await videos.fetched(await videos.prepared(good)) == VIDEO
    with pytest.raises(Permanent, match=r"yt-dlp.*404"):
        await videos.prepared(gone)
    with pytest.raises(Permanent, match="Unsupported URL"):
        await videos.prepared(text)


async def test_a_refused_address_is_named(videos: Bench) -> None:
    (item,) = await videos.items("http://127.0.0.2/a.mp4")
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await videos.prepared(item)


async def test_a_redirect_to_a_refused_address(site: Site, videos: Bench) -> None:
    site.pages["/a.mp4"] = Page(b"", 302, {"Location": "http://127.0.0.2/secret.mp4"})
    (item,) = await videos.items(site.url("/a.mp4"))
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await videos.prepared(item)


async def test_a_server_that_dies_is_asked_again_where_it_stopped(site: Site, videos: Bench) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, cut_after=100_000)
    with pytest.raises(Retryable):
        await videos.prepared(item)
    site.pages["/a.mp4"] = Page(VIDEO)
    site.asked.clear()
    assert await videos.fetched(await videos.prepared(item)) == VIDEO
    assert any(headers.get("range", "bytes=0-") != "bytes=0-" for _, headers in site.asked)


async def test_a_cancel_leaves_no_program(site: Site, videos: Bench, tools: Tools) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, hold_after=100_000, ranges=False)
    seen = asyncio.Event()
    work = asyncio.create_task(videos.source.prepare(item, videos.spec, lambda *_: seen.set()))
    await asyncio.wait_for(seen.wait(), 30)
    assert leftovers(tools.scratch)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not leftovers(tools.scratch)


async def test_a_program_that_hangs_is_given_up(
    site: Site, videos: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, hold_after=100_000, ranges=False)
    monkeypatch.setattr(process, "SILENCE", 2.0)
    with pytest.raises(Retryable, match="did nothing for 2 s"):
        await videos.prepared(item)


async def test_only_the_sound(site: Site, videos: Bench, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    made = "testsrc=duration=1:size=64x64:rate=5"
    command = [
        program("ffmpeg"),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        made,
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1",
    ]
    subprocess.run([*command, "-c:a", "aac", str(film)], check=True)
    program("ffprobe")
    site.pages["/a.mp4"] = Page(film.read_bytes())
    item, data = await videos.get(site.url("/a.mp4"), preset="audio")
    assert item.name == "a.m4a"
    assert 0 < len(data) < film.stat().st_size


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--exec", "touch /tmp/x"], "cannot be set here"),
        (["--output=/etc/passwd"], "cannot be set here"),
        (["-o", "x"], "cannot be set here"),
        (["--formt", "best"], "did you mean --format"),
        (["--format"], "needs a value"),
        (["--embed-subs=yes"], "takes no value"),
        (["https://example.com"], "cannot be set here"),
    ],
)
def test_flags_that_are_not_for_users(flags: list[str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        YtDlp(urls=["https://example.com/"], flags=flags)


def test_flags_are_kept_in_one_word() -> None:
    given = YtDlp(urls=["https://example.com/"], flags=["-f", "--exec", "-x", "--sub-langs=en"])
    assert given.flags == ["--format=--exec", "--extract-audio", "--sub-langs=en"]


async def test_a_missing_program_is_told(tools: Tools) -> None:
    config = Config.model_validate({"ytdlp": {"program": "no-such"}, "gallery": {"program": "no-such"}})
    for source in (YtDlpSource, GallerySource):
        assert "not installed; pip install" in source(replace(tools, config=config)).problem


async def test_pictures_of_a_page(site: Site, pictures: Bench) -> None:
    """`recursive:` is the one of its extractors that takes a page of any server."""
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
    ("link", "words"),
    [
        ("https://nobody.invalid/x", "Unsupported URL|finds no files|gallery-dl"),
        ("generic:http://127.0.0.2/post", "127.0.0.2"),
    ],
)
async def test_what_gallery_dl_cannot_do(pictures: Bench, link: str, words: str) -> None:
    with pytest.raises((Permanent, Retryable), match=words):
        await pictures.items(link)


async def test_its_answers_are_data(pictures: Bench, tools: Tools, tmp_path: Path) -> None:
    """Whatever a site makes gallery-dl say."""
    fake = tmp_path / "gallery-dl"
    lines = [
        [2, {"title": "../../x"}],
        [3, "http://127.0.0.1/a.jpg", {"filename": "../../etc/passwd", "extension": "", "title": "../.."}],
        [3, "file:///etc/passwd", {"filename": "x"}],
        [3, "http://127.0.0.1/b.jpg", {"filename": None, "id": 5, "_http_headers": {"X-A": "b"}}],
    ]
    fake.write_text(f"#!/bin/sh\necho '{json.dumps(lines)}'\n")
    fake.chmod(0o700)
    config = Config.model_validate({"gallery": {"program": str(fake)}})
    found = Bench(GallerySource(replace(tools, config=config)))
    first, second = await found.items("https://example.com/")
    assert ".." not in first.path.split("/")
    assert second.name == "b.jpg"
    assert second.source["headers"]["X-A"] == "b"
