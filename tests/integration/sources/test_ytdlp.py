"""The real yt-dlp with pages of a web server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from saveany.config import Config
from saveany.errors import Permanent, Retryable
from saveany.sources import YtDlpParams
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.fixtures.tcp import tcp_server
from tests.integration.sources.conftest import Gate, SourceHarness, all_gone, leftovers
from tests.integration.sources.programs import COOKIES, PAGE, VIDEO, stand_in, with_cookies
from workers.sources import process
from workers.sources.base import Tools
from workers.sources.ytdlp import YtDlpSource


@pytest.fixture
def videos(tools: Tools) -> SourceHarness:
    program("yt-dlp")
    return SourceHarness(YtDlpSource(tools))


def harness_of_script(tools: Tools, tmp_path: Path, says: str) -> SourceHarness:
    """A harness whose yt-dlp is a shell script."""
    config = Config.model_validate({"ytdlp": {"program": stand_in(tmp_path, says)}})
    return SourceHarness(YtDlpSource(replace(tools, config=config)))


async def test_a_video_is_saved_under_its_title(site: Site, videos: SourceHarness, tools: Tools) -> None:
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


async def test_a_speed_limit_slows_a_video(site: Site, tools: Tools) -> None:
    gate = Gate(200_000)
    videos = SourceHarness(YtDlpSource(replace(tools, take=gate.take)))
    site.pages |= {"/film": Page(PAGE % b"", headers={"Content-Type": "text/html"}), "/a.mp4": Page(VIDEO)}
    (item,) = await videos.items(site.url("/film"))
    done: list[int] = [0]
    preparing = asyncio.create_task(
        videos.source.prepare(item, videos.spec, lambda bytes_, total: done.append(bytes_))
    )
    await asyncio.wait_for(gate.shut.wait(), 60)
    assert not preparing.done()
    assert max(done) <= 200_000
    gate.open.set()
    assert await videos.fetched(await preparing) == VIDEO
    assert gate.taken >= len(VIDEO)
    assert videos.source.is_local(item), "what it has downloaded so is not held back a second time"
    await videos.source.forget("t")


async def test_a_playlist_is_a_folder_and_needs_scratch_space_for_one_video(
    site: Site, videos: SourceHarness, tools: Tools
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


async def test_dead_links_keep_their_reason(site: Site, videos: SourceHarness) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    good, gone, text = await videos.items(site.url("/a.mp4"), site.url("/gone"), site.url("/text"))
    site.pages["/text"] = Page(b"<p>words</p>", headers={"Content-Type": "text/html"})
    assert await videos.fetched(await videos.prepared(good)) == VIDEO
    with pytest.raises(Permanent, match=r"yt-dlp.*404"):
        await videos.prepared(gone)
    with pytest.raises(Permanent, match="Unsupported URL"):
        await videos.prepared(text)


async def test_an_unreachable_server_does_not_block_other_links(site: Site, videos: SourceHarness) -> None:
    site.pages |= {"/a.mp4": Page(VIDEO), "/b.mp4": Page(status=503)}
    with pytest.raises(Retryable, match="503"):
        await videos.items(site.url("/b.mp4"))
    good, away = await videos.items(site.url("/a.mp4"), site.url("/b.mp4"))
    assert await videos.fetched(await videos.prepared(good)) == VIDEO
    with pytest.raises(Retryable, match="503"):
        await videos.prepared(away)
    site.pages["/b.mp4"] = Page(VIDEO)
    assert await videos.fetched(await videos.prepared(away)) == VIDEO


async def test_a_refused_address_is_named(videos: SourceHarness) -> None:
    (item,) = await videos.items("http://127.0.0.2/a.mp4")
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await videos.prepared(item)


async def test_a_redirect_to_a_refused_address_is_refused(site: Site, videos: SourceHarness) -> None:
    site.pages["/a.mp4"] = Page(b"", 302, {"Location": "http://127.0.0.2/secret.mp4"})
    (item,) = await videos.items(site.url("/a.mp4"))
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await videos.prepared(item)


async def test_a_broken_download_is_resumed(site: Site, videos: SourceHarness) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, cut_after=100_000)
    with pytest.raises(Retryable):
        await videos.prepared(item)
    site.pages["/a.mp4"] = Page(VIDEO)
    site.asked.clear()
    assert await videos.fetched(await videos.prepared(item)) == VIDEO
    assert any(headers.get("range", "bytes=0-") != "bytes=0-" for _, headers in site.asked)


async def test_a_wrong_length_is_an_error(site: Site, videos: SourceHarness) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, ranges=False, headers={"Content-Length": str(len(VIDEO) + 1)})
    with pytest.raises(Retryable):
        await videos.prepared(item)


async def test_a_cancel_leaves_no_process(site: Site, videos: SourceHarness, tools: Tools) -> None:
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
    await all_gone(tools.scratch)


async def test_a_hanging_program_is_killed(
    site: Site, videos: SourceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"))
    site.pages["/a.mp4"] = Page(VIDEO, hold_after=100_000, ranges=False)
    monkeypatch.setattr(process, "SILENCE", 2.0)
    with pytest.raises(Retryable, match="was idle for 2 s"):
        await videos.prepared(item)


async def test_a_stream_with_missing_fragments_is_not_saved(site: Site, videos: SourceHarness) -> None:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "0.ts", "#EXTINF:1,", "1.ts"]
    playlist = "\n".join([*lines, "#EXTINF:1,", "2.ts", "#EXT-X-ENDLIST", ""])
    site.pages["/v.m3u8"] = Page(playlist.encode(), headers={"Content-Type": "application/x-mpegurl"})
    site.pages |= {"/0.ts": Page(VIDEO), "/2.ts": Page(VIDEO)}
    (item,) = await videos.items(site.url("/v.m3u8"))
    with pytest.raises((Permanent, Retryable), match=r"404|fragment"):
        await videos.prepared(item)


@pytest.mark.parametrize(
    ("scheme", "words"), [("http", "127.0.0.2"), ("https", "127.0.0.2"), ("ftp", "RTMP"), ("rtmp", "RTMP")]
)
async def test_ffmpeg_makes_no_connections(
    scheme: str, words: str, site: Site, videos: SourceHarness
) -> None:
    """ffmpeg, which downloads parts of videos, ignores the proxy for some protocols."""
    program("ffmpeg")
    program("ffprobe")
    async with tcp_server(host="127.0.0.2") as inner:
        url = f"{scheme}://127.0.0.2:{inner.port}/a.mp4"
        html = f'<title>x</title><video><source src="{url}" type="video/mp4"></video>'
        site.pages["/film"] = Page(html.encode(), headers={"Content-Type": "text/html"})
        (item,) = await videos.items(site.url("/film"), flags=["--download-sections=*0-1"])
        with pytest.raises(Permanent, match=words):
            await videos.prepared(item)
    assert inner.connections == 0


def closed_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_unreachable_server_is_reported_and_not_our_proxy(
    videos: SourceHarness, scheme: str
) -> None:
    link = f"{scheme}://127.0.0.1:{closed_port()}/film"
    item, _ = await videos.items(link, "http://127.0.0.1:1/other")  # of several one that is away is kept
    with pytest.raises(Retryable) as caught:
        await videos.prepared(item)
    assert "proxy" not in caught.value.message.lower()
    assert "tunnel" not in caught.value.message.lower()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "ERROR: [x] a: Unable to download webpage: ('Unable to connect to proxy', OSError('Tunnel "
            "connection failed: 502 Bad Gateway')) (caused by ProxyError(\"('Unable to connect', …)\"))",
            "yt-dlp: [x] a: Unable to download webpage: the server cannot be reached",
        ),
        (
            "HTTPConnectionPool(host='127.0.0.1', port=4711): Max retries exceeded with url: http://a.test/b "
            "(Caused by ProxyError('Cannot connect to proxy.', TimeoutError()))",
            "yt-dlp: http://a.test/b: the server cannot be reached",
        ),
        (
            "ERROR: cannot open http://saveany:hush@127.0.0.1:4711/a (refused)",
            "yt-dlp: cannot open the network (refused)",
        ),
    ],
)
def test_error_messages_do_not_mention_our_proxy(said: str, told: str) -> None:
    assert process.failure("yt-dlp", said).message == told


def test_an_unreachable_server_is_retried() -> None:
    said = "ERROR: ('Unable to connect to proxy', OSError('Tunnel connection failed: 502 Bad Gateway'))"
    assert isinstance(process.failure("yt-dlp", said), Retryable)


def test_error_messages_do_not_contain_the_address_of_our_proxy() -> None:
    url = "http://saveany:hush@127.0.0.1:4711"
    said = "[tcp @ 0x1] Connection to tcp://127.0.0.1:4711?timeout=1 failed: refused"
    assert process.without_proxy(said, url) == "[tcp @ 0x1] Connection to the network failed: refused"
    assert "4712" in process.without_proxy("http://127.0.0.1:4712/a", url)


def test_error_messages_end_with_a_sentence() -> None:
    said = (
        "ERROR: This video is not for people of your age, or not in your country. "
        + "Long advice that nobody reads to its end " * 20
    )
    assert process.failure("yt-dlp", said).message == (
        "yt-dlp: This video is not for people of your age, or not in your country."
    )


async def test_selection_flags_apply_to_the_playlist_only(site: Site, videos: SourceHarness) -> None:
    more = b'<video src="b.mp4"></video><video src="c.mp4"></video>'
    site.pages["/film"] = Page(PAGE % more, headers={"Content-Type": "text/html"})
    site.pages["/c.mp4"] = Page(VIDEO[::-1])
    _, last = await videos.items(site.url("/film"), flags=["--playlist-items=2:3", "--playlist-reverse"])
    first, _ = await videos.items(site.url("/film"), flags=["--playlist-items=3,1"])
    assert {first.name, last.name} <= {"My_ film_one (2)", "My_ film_one (3)"}
    number_3 = next(each for each in (first, last) if each.name.endswith("(3)"))
    assert await videos.fetched(await videos.prepared(number_3)) == VIDEO[::-1]


async def test_a_video_excluded_by_flags_is_reported(site: Site, videos: SourceHarness) -> None:
    site.pages["/a.mp4"] = Page(VIDEO)
    (item,) = await videos.items(site.url("/a.mp4"), flags=["--max-filesize=10"])
    with pytest.raises(Permanent, match="flags"):
        await videos.prepared(item)


async def test_cookies_of_the_user_are_sent(site: Site, tools: Tools, tmp_path: Path) -> None:
    program("yt-dlp")
    site.pages["/a.mp4"] = Page(VIDEO)
    videos = SourceHarness(YtDlpSource(with_cookies(tools, tmp_path, COOKIES)))
    _, data = await videos.get(site.url("/a.mp4"))
    assert data == VIDEO
    assert site.asked[-1][1]["cookie"] == "login=hush"


async def test_nested_playlists_are_expanded(tools: Tools, tmp_path: Path) -> None:
    tab = {"ie_key": "YoutubeTab", "playlist_title": "Me"}
    video = {"ie_key": "Youtube", "playlist_title": "Me - Videos"}
    listed: dict[str, list[dict[str, Any]]] = {
        "https://x.test/me": [tab | {"url": f"https://x.test/{each}", "title": each} for each in "abc"],
        "https://x.test/a": [
            video | {"url": "https://x.test/1", "title": "../One"},
            video | {"url": "https://x.test/2", "id": "id2"},
        ],
        "https://x.test/b": [{"ie_key": "Youtube", "url": "7", "title": "B", "playlist_index": 3}],
    }
    arms = [
        f"*' {link}') printf '%s\\n' " + " ".join(f"'{json.dumps(each)}'" for each in entries) + ";;"
        for link, entries in listed.items()
    ]
    script = 'case "$*" in ' + " ".join(arms) + " *) echo 'ERROR: gone' >&2; exit 1;; esac"
    items = await harness_of_script(tools, tmp_path, script).items("https://x.test/me")
    assert [(item.path, item.source) for item in items] == [
        ("Me - Videos/_One", {"url": "https://x.test/1"}),
        ("Me - Videos/id2", {"url": "https://x.test/2", "untitled": True}),
        ("B", {"url": "https://x.test/b", "number": 3}),  # "7" is a URL to that site's extractor only
        ("Me/c", {"url": "https://x.test/c"}),
    ]


async def test_name_and_progress_are_reported_during_the_download(tools: Tools, tmp_path: Path) -> None:
    saved = json.dumps({"filepath": "PWD/media.webm", "title": "Now: it has\na title"})
    lines = ["BYTES 5 10", "BYTES 10 10", "BYTES 2 NA", "BYTES 4 4", f"FILE {saved}"]
    says = " ".join(f"'{line}'" for line in lines)
    script = f"""case "$*" in
        *--simulate*) echo '{json.dumps({"id": "7"})}';;
        *) echo film > media.webm; printf '%s\\n' {says} | sed "s:PWD:$PWD:";;
    esac"""
    videos = harness_of_script(tools, tmp_path, script)
    (item,) = await videos.items("https://x.test/")
    assert item.name == "7"
    seen: list[tuple[int, int | None]] = []
    first = await videos.source.prepare(item, videos.spec, lambda *bytes_: seen.append(bytes_))
    assert first.name == "Now_ it has a title.webm"
    assert seen == [(5, 10), (10, 10), (12, None), (14, 14)]
    assert await videos.prepared(first) == first
    assert await videos.fetched(first) == b"film\n"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ('FILE {"filepath": "/etc/passwd"}', "outside"),
        ("FILE /etc/passwd", "understand"),
        ("FILE {}", "understand"),
        ('FILE {"filepath": "a"}\nFILE {"filepath": "b"}', "several videos"),
        ("nothing", "flags"),
    ],
)
async def test_invalid_output_is_refused(says: str, words: str, tools: Tools, tmp_path: Path) -> None:
    script = f"""case "$*" in *--simulate*) echo '{{}}';; *) printf '%b\\n' '{says}';; esac"""
    videos = harness_of_script(tools, tmp_path, script)
    (item,) = await videos.items("https://x.test/")
    with pytest.raises(Permanent, match=words):
        await videos.prepared(item)


async def test_audio_alone_can_be_saved(site: Site, videos: SourceHarness, tmp_path: Path) -> None:
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
def test_dangerous_flags_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        YtDlpParams(urls=["https://example.com/"], flags=flags)


def test_each_flag_is_one_argument() -> None:
    given = YtDlpParams(urls=["https://example.com/"], flags=["-f", "--exec", "-x", "--sub-langs=en"])
    assert given.flags == ["--format=--exec", "--extract-audio", "--sub-langs=en"]
