"""Files of web servers, good and bad."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from saveany.errors import Permanent, Retryable
from tests.fixtures.site import Page, Site, serve
from tests.integration.sources.conftest import Bench
from workers.sources.base import Tools
from workers.sources.directlinks import DirectLinksSource

MIB = 1 << 20
DATA = random.Random(1).randbytes(20 * MIB + 7)


@pytest.fixture
async def bench(tools: Tools) -> AsyncIterator[Bench]:
    source = DirectLinksSource(tools)
    yield Bench(source)
    await source.close()


@pytest.mark.parametrize("size", [0, 1, MIB, len(DATA)])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_file(site: Site, bench: Bench, size: int, ranges: bool) -> None:
    site.pages["/d/a%20b.bin?x=1"] = Page(DATA[:size], ranges=ranges)
    item, data = await bench.get(site.url("/d/a%20b.bin?x=1"))
    assert (item.name, item.size) == ("a b.bin", size)
    assert data == DATA[:size]


async def test_several_connections(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(DATA)
    await bench.get(site.url("/a"))
    assert sum("range" in headers and headers["range"] != "bytes=0-" for _, headers in site.asked) == 3


async def test_an_unknown_length(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(DATA[:MIB], ranges=False, length=False)
    item, data = await bench.get(site.url("/a"))
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
async def test_the_name_a_server_gives(site: Site, bench: Bench, header: str, name: str) -> None:
    page = Page(b"x", headers={"Content-Disposition": header, "Content-Type": "text/html; charset=utf-8"})
    site.pages["/page"] = page
    (item,) = await bench.items(site.url("/page"))
    assert (await bench.prepared(item)).name == name


async def test_the_rest_after_a_restart(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'})
    (item,) = await bench.items(site.url("/a"))
    item = await bench.prepared(item)
    have = [(0, 3 * MIB), (10 * MIB, 12 * MIB)]
    assert await bench.fetched(item, have) == DATA[3 * MIB : 10 * MIB] + DATA[12 * MIB :]


async def test_a_file_that_changed_is_another(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'})
    (item,) = await bench.items(site.url("/a"))
    item = await bench.prepared(item)
    site.pages["/a"] = Page(DATA[::-1], headers={"ETag": '"2"'})
    with pytest.raises(Retryable, match="has changed"):
        await bench.fetched(item, [(0, MIB)])
    again = await bench.prepared(item)
    assert again.source != item.source
    assert await bench.fetched(again) == DATA[::-1]


async def test_a_connection_that_breaks_goes_on(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(DATA, headers={"ETag": '"1"'}, cut_after=3 * MIB, cuts=4)
    _, data = await bench.get(site.url("/a"))
    assert data == DATA


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_server_that_always_breaks_off(site: Site, bench: Bench, ranges: bool) -> None:
    site.pages["/a"] = Page(DATA[: 9 * MIB], ranges=ranges, cut_after=0)
    (item,) = await bench.items(site.url("/a"))
    item = await bench.prepared(item)
    with pytest.raises(Retryable):
        await bench.fetched(item)


@pytest.mark.parametrize("said", [MIB - 1, MIB + 1])
async def test_a_wrong_length(site: Site, bench: Bench, said: int) -> None:
    site.pages["/a"] = Page(DATA[:MIB], ranges=False, headers={"Content-Length": str(said)})
    (item,) = await bench.items(site.url("/a"))
    item = await bench.prepared(item)
    if said > MIB:
        with pytest.raises(Retryable):
            await bench.fetched(item)
    else:
        assert len(await bench.fetched(item)) == said


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, Permanent),
        (410, Permanent),
        (401, Permanent),
        (400, Permanent),
        (429, Retryable),
        (503, Retryable),
    ],
)
async def test_refusals(site: Site, bench: Bench, status: int, kind: type[Exception]) -> None:
    site.pages["/a"] = Page(b"no", status=status, headers={"Retry-After": "7"})
    (item,) = await bench.items(site.url("/a"))
    with pytest.raises(kind) as caught:
        await bench.prepared(item)
    assert str(status) in str(caught.value)
    if isinstance(caught.value, Retryable):
        assert caught.value.after == 7


async def test_redirects(site: Site, bench: Bench) -> None:
    site.pages["/a"] = Page(status=302, headers={"Location": "/b/c.bin"})
    site.pages["/b/c.bin"] = Page(b"found")
    item, data = await bench.get(site.url("/a"))
    assert (item.name, data) == ("c.bin", b"found")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/a", "more than 10 times"),
        ("http://127.0.0.2/x", "127.0.0.2"),
        ("http://169.254.169.254/latest/", "169.254.169.254"),
        ("file:///etc/passwd", "http"),
    ],
)
async def test_bad_redirects(site: Site, bench: Bench, location: str, words: str) -> None:
    site.pages["/a"] = Page(status=301, headers={"Location": location})
    (item,) = await bench.items(site.url("/a"))
    with pytest.raises(Permanent, match=words):
        await bench.prepared(item)


async def test_secrets_stay_with_their_host(site: Site, bench: Bench) -> None:
    async with serve() as other:
        site.pages["/a"] = Page(status=302, headers={"Location": other.url("/b")})
        other.pages["/b"] = Page(b"x")
        await bench.get(site.url("/a"), headers={"Authorization": "Bearer s"}, cookies={"k": "v"})
        assert {(headers.get("authorization"), headers.get("cookie")) for _, headers in site.asked} == {
            ("Bearer s", "k=v")
        }
        assert all("authorization" not in headers and "cookie" not in headers for _, headers in other.asked)


@pytest.mark.parametrize("length", [True, False])
async def test_too_large(site: Site, bench: Bench, length: bool) -> None:
    site.pages["/a"] = Page(DATA[: 2 * MIB], ranges=False, length=length)
    with pytest.raises(Permanent, match="max_bytes"):
        await bench.get(site.url("/a"), max_bytes=MIB)


async def test_a_server_that_is_not_there(bench: Bench) -> None:
    (item,) = await bench.items("http://127.0.0.1:1/a.bin")
    with pytest.raises(Retryable, match="refused"):
        await bench.prepared(item)


async def test_a_hundred_urls_are_a_hundred_files(bench: Bench) -> None:
    items = await bench.items(*(f"http://127.0.0.1/{n}/same.bin" for n in range(100)))
    assert len({item.path for item in items}) == 100
