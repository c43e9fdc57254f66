"""Files of working and broken web servers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import quote

import pytest

from saveany.errors import Permanent, Retryable
from saveany.net.guard import AddressGuard
from saveany.net.proxy import GuardedProxy
from tests.fixtures.site import Page, Site, serve
from tests.integration.sources.conftest import SourceHarness
from tests.unit.net.servers import serving
from workers.sources.base import Tools
from workers.sources.directlinks import DirectLinksSource

MIB = 1 << 20
DATA = random.Random(1).randbytes(20 * MIB + 7)


@pytest.mark.parametrize("size", [0, 1, MIB, len(DATA)])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_file_is_downloaded(site: Site, harness: SourceHarness, size: int, ranges: bool) -> None:
    site.pages["/d/a%20b.bin?x=1"] = Page(DATA[:size], ranges=ranges)
    item, data = await harness.get(site.url("/d/a%20b.bin?x=1"))
    assert (item.name, item.size) == ("a b.bin", size)
    assert data == DATA[:size]


async def test_large_files_use_several_connections(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA)
    await harness.get(site.url("/a"))
    first, *others = [headers["range"] for _, headers in site.asked]
    assert first == "bytes=0-"
    assert 3 <= len(others) < -(-len(DATA) // (4 * MIB))  # a connection may go on with the next block


@pytest.mark.parametrize("most", [1, 2])
async def test_the_number_of_connections_adapts_to_the_server(
    site: Site, harness: SourceHarness, most: int
) -> None:
    site.pages["/a"] = Page(DATA)
    (item,) = await harness.items(site.url("/a"))
    site.pages["/a"] = Page(DATA, connections=most)
    item = await harness.prepared(item)
    assert await harness.fetched(item) == DATA
    await site.idle()
    assert await harness.fetched(item) == DATA  # without the answer that was kept
    site.pages["/a"] = Page(DATA, connections=0)
    with pytest.raises(Permanent, match="403"):
        await harness.fetched(item)


async def test_after_a_wrong_range_the_file_is_downloaded_as_one_stream(
    site: Site, harness: SourceHarness
) -> None:
    site.pages["/a"] = Page(DATA, shift=MIB)
    (item,) = await harness.items(site.url("/a"))
    with pytest.raises(Retryable):
        await harness.fetched(await harness.prepared(item))
    assert await harness.fetched(await harness.prepared(item)) == DATA  # in one stream


async def test_a_file_of_unknown_length_is_downloaded(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA[:MIB], ranges=False, length=False)
    item, data = await harness.get(site.url("/a"))
    assert item.size is None
    assert data == DATA[:MIB]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="report 1.pdf"', "report 1.pdf"),
        ("attachment; filename*=UTF-8''na%C3%AFve.txt; filename=x.txt", "naïve.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd.html"),
        ('attachment; filename="C:\\\\x\\\\evil.exe"', "evil.exe"),
        ("inline", "page.html"),
        ('attachment; filename=""', "page.html"),
    ],
)
async def test_the_name_given_by_the_server_is_used(
    site: Site, harness: SourceHarness, header: str, name: str
) -> None:
    page = Page(b"x", headers={"Content-Disposition": header, "Content-Type": "text/html; charset=utf-8"})
    site.pages["/page"] = page
    (item,) = await harness.items(site.url("/page"))
    assert (await harness.prepared(item)).name == name


async def test_files_are_saved_whatever_their_content_type(site: Site, harness: SourceHarness) -> None:
    """Many servers send wrong types, and some users do want an HTML page."""
    site.pages["/a.zip"] = Page(b"PK", headers={"Content-Type": "text/html"})
    item, data = await harness.get(site.url("/a.zip"))
    assert (item.name, data) == ("a.zip", b"PK")


async def test_only_the_rest_is_downloaded_after_a_restart(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'})
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    have = [(0, 3 * MIB), (10 * MIB, 12 * MIB)]
    assert await harness.fetched(item, have) == DATA[3 * MIB : 10 * MIB] + DATA[12 * MIB :]


async def test_a_changed_file_is_downloaded_again(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'})
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    site.pages["/a"] = Page(DATA[::-1], headers={"ETag": '"2"'})
    with pytest.raises(Retryable, match="has changed"):
        await harness.fetched(item, [(0, MIB)])
    again = await harness.prepared(item)
    assert again.source != item.source
    assert await harness.fetched(again) == DATA[::-1]


@pytest.mark.parametrize("header", [("ETag", '"%d"'), ("ETag", 'W/"%d"'), ("Last-Modified", "%d")])
async def test_bytes_of_a_changed_file_are_never_mixed(
    site: Site, harness: SourceHarness, header: tuple[str, str]
) -> None:
    """Some servers support ranges, but not If-Range."""
    name, value = header
    site.pages["/a"] = Page(DATA, headers={name: value % 1}, if_range=False)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    site.pages["/a"] = Page(DATA[::-1], headers={name: value % 2}, if_range=False)
    with pytest.raises(Retryable, match="has changed"):
        await harness.fetched(item, [(0, MIB)])
    again = await harness.prepared(item)
    assert again.source != item.source
    assert await harness.fetched(again) == DATA[::-1]


async def test_a_server_that_announces_ranges_but_ignores_them_is_supported(
    site: Site, harness: SourceHarness
) -> None:
    site.pages["/a"] = Page(DATA, parts=False, headers={"ETag": '"1"'})
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    with pytest.raises(Retryable) as caught:
        await harness.fetched(item)
    assert not caught.value.after, "it is tried so often as is configured, not for ever"
    assert await harness.fetched(await harness.prepared(item)) == DATA


async def test_a_server_that_sends_more_than_the_range_is_supported(
    site: Site, harness: SourceHarness
) -> None:
    site.pages["/a"] = Page(DATA, to_the_end=True)
    _, data = await harness.get(site.url("/a"))
    assert data == DATA


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [1, MIB, len(DATA)])
async def test_a_link_that_works_only_once_is_downloaded(
    site: Site, harness: SourceHarness, ranges: bool, size: int
) -> None:
    site.pages["/a"] = Page(DATA[:size], ranges=ranges, uses=1)
    assert (await harness.get(site.url("/a")))[1] == DATA[:size]


@pytest.mark.parametrize("length", [True, False])
async def test_a_file_generated_for_each_request_is_downloaded(
    site: Site, harness: SourceHarness, length: bool
) -> None:
    versions = [DATA[: MIB + n] for n in range(5)]
    site.pages["/a"] = Page(versions[0], ranges=False, length=length, later=versions[1:])
    item, data = await harness.get(site.url("/a"))
    assert (item.size, data) == (MIB if length else None, versions[0])
    assert await harness.fetched(item) == versions[1], "the answer that was kept is gone"


async def test_a_response_that_is_never_read_is_closed(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA)
    for done in (harness.source.stop, harness.source.forget):
        (item,) = await harness.items(site.url("/a"))
        await harness.prepared(item)
        await done("t")
        await asyncio.wait_for(site.idle(), 30)
        item = await harness.prepared(item)
        assert await harness.fetched(item, [(0, 5 * MIB)]) == DATA[5 * MIB :]
        await asyncio.wait_for(site.idle(), 30)


@pytest.mark.parametrize("ranges", [True, False])
async def test_cookies_set_by_redirects_are_sent(site: Site, harness: SourceHarness, ranges: bool) -> None:
    site.pages["/a"] = Page(DATA, ranges=ranges, needs_cookie="session=s3; theme=mine; login=new")
    cookies = ["login=new; Path=/", "gone=1; Max-Age=0", "other=1; Path=/elsewhere", "secure=1; Secure"]
    login = Page(status=303, headers={"Location": "/a"}, cookies=cookies)
    site.pages["/login"] = login
    given = {"session": "s3", "login": "old", "theme": "mine"}
    assert (await harness.get(site.url("/a"), cookies=given))[1] == DATA
    sent = {headers.get("cookie") for path, headers in site.asked}
    assert sent == {"session=s3; login=old; theme=mine", "session=s3; theme=mine; login=new"}


async def test_cookies_are_sent_only_to_the_host_that_set_them(tools: Tools) -> None:
    source = DirectLinksSource(replace(tools, guard=AddressGuard([ip_network("127.0.0.0/8")])))
    async with serve() as site, serve("127.0.0.2") as other:
        cookies = ["a=1", "b=2; Domain=127.0.0.2", "c=3; Domain=.0.0.2"]
        site.pages["/a"] = Page(status=302, headers={"Location": other.url("/b")}, cookies=cookies)
        other.pages["/b"] = Page(status=302, headers={"Location": site.url("/c")}, cookies=["d=4"])
        site.pages["/c"] = Page(b"x")
        await SourceHarness(source).get(site.url("/a"))
        await source.close()
        assert [headers.get("cookie") for _, headers in site.asked] == [None, "a=1"]
        assert [headers.get("cookie") for _, headers in other.asked] == [None]


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "big5", "cp1251"])
async def test_paths_in_other_encodings_are_sent_unchanged(
    site: Site, harness: SourceHarness, encoding: str
) -> None:
    name = {"big5": "測試檔案.zip", "cp1251": "отчёт.zip"}.get(encoding, "测试 文件.zip")
    path = "/d/" + quote(name.encode(encoding))
    site.pages[path] = Page(b"x")
    (item,) = await harness.items(site.url(path))
    assert item.name == name
    assert (await harness.prepared(item)).name == name


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "shift_jis", "latin-1"])
async def test_headers_in_other_encodings_are_decoded(
    site: Site, harness: SourceHarness, encoding: str
) -> None:
    name = {"shift_jis": "テスト文書.txt", "latin-1": "naïve.txt"}.get(encoding, "报告《终稿》.txt")
    raw = f'attachment; filename="{name}"'.encode(encoding).decode("utf-8", "surrogateescape")
    site.pages["/a"] = Page(b"x", headers={"Content-Disposition": raw})
    (item,) = await harness.items(site.url("/a"))
    assert (await harness.prepared(item)).name == name


async def test_a_broken_connection_is_resumed(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'}, cut_after=3 * MIB, cuts=4)
    _, data = await harness.get(site.url("/a"))
    assert data == DATA


async def test_a_server_that_breaks_off_repeatedly_but_makes_progress_is_resumed(
    site: Site, harness: SourceHarness
) -> None:
    site.pages["/a"] = Page(DATA[: 2 * MIB], headers={"Last-Modified": "x"}, cut_after=200_000)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    assert await harness.fetched(item) == DATA[: 2 * MIB]


async def test_short_ranges_are_continued(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA[: 9 * MIB], range_most=MIB)
    _, data = await harness.get(site.url("/a"))
    assert data == DATA[: 9 * MIB]


async def test_without_ranges_each_attempt_starts_over(site: Site, harness: SourceHarness) -> None:
    """Bytes of an earlier attempt are used only if the source is unchanged."""
    site.pages["/a"] = Page(DATA[:MIB], ranges=False, headers={"ETag": '"1"'})
    (item,) = await harness.items(site.url("/a"))
    first = await harness.prepared(item)
    second = await harness.prepared(first)
    assert first.source != second.source
    assert first.source.keys() == second.source.keys()


async def test_an_unchanged_file_is_resumed(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA[:MIB], headers={"Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT"})
    (item,) = await harness.items(site.url("/a"), cookies={"a": "b"})
    first = await harness.prepared(item)
    assert await harness.prepared(first) == first


async def test_a_weak_etag_does_not_allow_resuming(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA[:MIB], headers={"ETag": 'W/"1"'})
    await harness.get(site.url("/a"))
    assert all("if-range" not in headers for _, headers in site.asked)


async def test_an_empty_file_without_a_length_is_saved(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(status=416)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    site.pages["/a"] = Page()
    assert await harness.fetched(item) == b""
    site.pages["/a"] = Page(b"an error page", status=416)
    with pytest.raises(Permanent, match="416"):
        await harness.fetched(item)


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_server_that_always_breaks_off_is_given_up(
    site: Site, harness: SourceHarness, ranges: bool
) -> None:
    site.pages["/a"] = Page(DATA[: 9 * MIB], ranges=ranges, cut_after=0)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    with pytest.raises(Retryable):
        await harness.fetched(item)


@pytest.mark.parametrize("said", [MIB - 1, MIB + 1])
async def test_the_announced_length_decides_when_a_file_is_complete(
    site: Site, harness: SourceHarness, said: int
) -> None:
    site.pages["/a"] = Page(DATA[:MIB], ranges=False, headers={"Content-Length": str(said)})
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    if said > MIB:
        with pytest.raises(Retryable):
            await harness.fetched(item)
    else:
        assert len(await harness.fetched(item)) == said


async def test_headers_and_cookies_of_the_user_are_sent(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA[:MIB])
    headers = {
        "user-agent": "me",
        "RANGE": "bytes=5-",
        "content-length": "5",
        "accept-encoding": "gzip",
        "X-Name": " \u00fc\u597d ",
    }
    _, data = await harness.get(site.url("/a"), headers=headers, cookies={"a": "1", "b": "2"})
    assert data == DATA[:MIB]
    for _, sent in site.asked:
        assert (sent["user-agent"], sent["accept-encoding"], sent["cookie"]) == ("me", "identity", "a=1; b=2")
        assert sent["x-name"].encode("latin-1").decode() == "\u00fc\u597d"


@pytest.mark.parametrize("headers", [{"X": "a\nb"}, {"X Y": "z"}])
async def test_invalid_headers_are_refused(
    site: Site, harness: SourceHarness, headers: dict[str, str]
) -> None:
    (item,) = await harness.items(site.url("/a"), headers=headers)
    with pytest.raises(Permanent, match="`headers`"):
        await harness.prepared(item)


async def test_a_body_without_a_length_ends_with_the_connection(harness: SourceHarness) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True) as server:
        item, data = await harness.get(f"http://127.0.0.1:{server.port}/a")
    assert (item.size, data) == (None, b"hello")


async def test_the_number_of_buffered_pieces_is_limited(site: Site, harness: SourceHarness) -> None:
    """A slow storage slows the connections, so that no data accumulates."""
    site.pages["/a"] = Page(DATA)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    waiting, sizes, go = asyncio.Event(), list[int](), asyncio.Event()

    async def write(offset: int, data: bytes | memoryview) -> None:
        sizes.append(len(data))
        if len(sizes) == 4:  # each connection has come with its first piece
            waiting.set()
        await go.wait()

    task = asyncio.create_task(harness.source.fetch(item, write))
    await asyncio.wait_for(waiting.wait(), 30)
    assert len(sizes) == 4
    assert max(sizes) < 2 * MIB
    go.set()
    await task
    assert sum(sizes) == len(DATA)


async def test_a_cancel_closes_the_connections(site: Site, harness: SourceHarness) -> None:
    site.pages["/a"] = Page(DATA)
    (item,) = await harness.items(site.url("/a"))
    item = await harness.prepared(item)
    begun = asyncio.Event()

    async def write(offset: int, data: bytes | memoryview) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(harness.source.fetch(item, write))
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(site.idle(), 30)


async def test_the_configured_proxy_is_used(site: Site, tools: Tools) -> None:
    site.pages["/a"] = Page(DATA)
    async with GuardedProxy(tools.guard) as proxy:
        source = DirectLinksSource(
            replace(tools, config=tools.config.model_copy(update={"proxy": proxy.url}))
        )
        _, data = await SourceHarness(source).get(site.url("/a"))
        await source.close()
        assert proxy.passed >= len(DATA)
    assert data == DATA


async def test_secrets_are_sent_only_to_their_host(site: Site, harness: SourceHarness) -> None:
    async with serve() as other:
        site.pages["/a"] = Page(status=302, headers={"Location": other.url("/b")})
        other.pages["/b"] = Page(b"x")
        await harness.get(site.url("/a"), headers={"Authorization": "Bearer s"}, cookies={"k": "v"})
        assert {(headers.get("authorization"), headers.get("cookie")) for _, headers in site.asked} == {
            ("Bearer s", "k=v")
        }
        assert all("authorization" not in headers and "cookie" not in headers for _, headers in other.asked)


@pytest.mark.parametrize("length", [True, False])
async def test_files_over_the_limit_are_refused(site: Site, harness: SourceHarness, length: bool) -> None:
    site.pages["/a"] = Page(DATA[: 2 * MIB], ranges=False, length=length)
    with pytest.raises(Permanent, match="max_bytes"):
        await harness.get(site.url("/a"), max_bytes=MIB)


async def test_an_unreachable_server_is_reported(harness: SourceHarness) -> None:
    (item,) = await harness.items("http://127.0.0.1:1/a.bin")
    with pytest.raises(Retryable, match="refused"):
        await harness.prepared(item)


async def test_a_hundred_urls_give_a_hundred_files(harness: SourceHarness) -> None:
    items = await harness.items(*(f"http://127.0.0.1/{n}/same.bin" for n in range(100)))
    assert len({item.path for item in items}) == 100
